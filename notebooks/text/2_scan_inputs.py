# %% [markdown]
# # Step 2. Do both scans receive the same inputs?
#
# The debug plan's second step asks for shape, dtype, range, mean, standard deviation and scale of `u`, the scan's main input, in modes 0 and 2-1, and the same of the dequantized values. It expects them to be identical: then the first two differences of its stage table (what is handed on after conv1d, and what the scan receives) are no cause.
#
# Two questions hide in this one. In a **free run** each mode runs the whole model, so a difference made in one layer reaches the inputs of all later ones. In **lockstep** every layer of mode B is given mode A's input, so only what that layer itself adds is left. A mode that is innocent up to the scan shows no difference in lockstep at any layer, whatever the free run looks like.
#
# INT8 tensors are compared as codes first and as values second: two tensors can hold the same codes under different scales, and the other way round. A **code flip** is a value that two modes round to different codes; each is traced to its reason: a tie between two codes, a clipped value, another scale, or an input that differed already (upstream).

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

# %% [markdown]
# ## What came out
#
# Every operand of the scan is taken from both modes at each layer, in the free run and in lockstep.

# %%
result = steps.scan_inputs(run, settings.mode_a, settings.mode_b, layers=list(settings.layers), items=[settings.item])
notebook.finish(result, results_dir, "2_scan_inputs", lang)

# %% [markdown]
# ## The finding in pictures
#
# A layer that shows no difference in lockstep adds none of its own.

# %%
notebook.show_figures(result)

# %% [markdown]
# ## Look for yourself
#
# Choose two modes, a layer, a token and a stage; a click into the map chooses its layer and token.

# %%
widgets.explore(
    "map", "codes", "along", "tensor", "number", "text", stage="scan.u",
    stages=("conv1d", "scan.u", "scan.dt", "scan.B", "scan.C", "scan.z"),
)

# %% [markdown]
# ## The numbers behind it

# %%
notebook.show_tables(result)
