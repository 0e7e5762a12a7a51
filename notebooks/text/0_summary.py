# %% [markdown]
# # Two modes of one quantized Mamba disagree: is it real, and what causes it?
#
# The question comes from a debug plan, a document of five steps written by somebody who ports Mamba's selective scan. It starts from two numbers: a quantized Mamba answered 38 % of the first 100 items of `lambada_openai` rightly with its CUDA scan (modes 0 and 2-0), and 36 % with a PyTorch scan in its place (modes 2-1 and 2-2). In theory the two should agree. The plan suspects four causes, the likeliest first: (1) the PyTorch scan itself, (2) the way it applies the scales of INT8 values, (3) the quantization of the scan's state, (4) the order of floating-point operations.
#
# Here the five steps are taken together, for one model and one task. A **mode** is one way to run the same quantized layer: what conv1d hands on, what becomes of the scan's input `u`, and which scan runs. Nothing else differs between modes, so whatever differs in the answers comes from there.

# %% tags=["parameters"]
model: str = "demo"  # demo, or the folder of a prepared model
task: str = "lambada_demo"  # lambada_demo, or a .jsonl file with one {"text": ...} per line
modes: list = []  # the modes to run, of 0 2-0 2-1 2-2 2-3 2-4 3 1; empty for 0 2-0 2-1 2-2
mode_a: str = ""  # the reference mode, empty for the first of modes
mode_b: str = ""  # the mode in question, empty for what the environment flags say, else 2-1
limit: int = 100  # items of the task to use, 1 to its size
layers: list = []  # numbers of the layers to look at, such as [0, 7]; empty for all
item: int = 0  # the item that is looked at closely, 0 to limit - 1
seed: int = 0  # seed of every random choice
device: str = "cpu"  # cpu or cuda
lang: str = "en"  # language of every text, en or zh
results_dir: str = ""  # folder for the result as JSON, empty for none
cache_dir: str = ""  # folder of evaluations shared between notebooks, empty for none

# %% tags=["hide-code"]
from quamba_lab import notebook, steps, widgets

settings = notebook.begin(
    In, model=model, task=task, modes=modes, mode_a=mode_a, mode_b=mode_b, limit=limit, layers=layers, item=item,
    seed=seed, device=device, lang=lang,
)
run = notebook.open_workbook(settings, cache_dir)

# %% [markdown] tags=["notebook-only"]
# ## The answer
#
# First whether there is a difference at all, then who is closer to the truth, where the difference enters, and what to do.

# %% tags=["hide-code"]
result = steps.summary(run, settings.mode_a, settings.mode_b, layers=list(settings.layers), items=[settings.item])
notebook.finish(result, results_dir, "0_summary", lang)

# %% [markdown]
# ## The pictures that carry it
#
# From top to bottom: is there a difference in the answers, how large is it beside what harmless reorderings of the same arithmetic do (the *floor*), what do the scans add layer by layer when both get the same inputs (*lockstep*), and after which operation of the scan does it show?

# %%
notebook.show_figures(result)

# %% tags=["notebook-only"]
notebook.show_tables(result, ["Steps"])

# %%
notebook.show_tables(result, leave_out=["Steps"])

# %% [markdown]
# ## Look for yourself
#
# Choose two modes, an item, a layer and a token; a choice holds in every section and in the report's other pages.

# %%
widgets.explore("text", "stages", "number")

# %% [markdown]
# ## What really ran
#
# A mode that is an inert switch looks exactly like a mode that changes nothing. So every run records, layer by layer, which scan ran in which build, and the dtype and the number of distinct values of its input. Mode 2-2, for example, must receive float32 values, at most 256 distinct ones, because they lie on the INT8 grid, the values that an 8-bit code times its scale can take.

# %%
notebook.show_witness(run, settings)
