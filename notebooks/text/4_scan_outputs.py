# %% [markdown]
# # Step 4. How far apart are the scans' outputs?
#
# The debug plan's fourth step asks for shape, dtype, range, mean and standard deviation of `y`, the scan's output, in each mode, and the largest and the mean absolute difference from the reference mode.
#
# A difference has no size by itself. Two rulers are laid beside it. The first is the **floor**: what the same arithmetic changes when it is legally reordered (another batch split, another chunk size, another order of a sum). Nothing below the floor can be blamed on anybody. The second is the **oracle**, the same recurrence in float64: it says which of two modes is nearer to the truth, not just how far they are apart.
#
# In a *free run* each mode runs the whole model and differences add up; in *lockstep* every layer of mode B gets mode A's input, so that only what its scan adds is left. Errors are divided by the RMS of `y`. A relative error per element would mostly measure how near to zero an element happens to be. A *ULP*, a unit in the last place, is the step from one floating-point number to the next.

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
# The output `y` of every mode is taken at each layer, in the free run and in lockstep, and held against the reference, the floor and the oracle.

# %%
result = steps.scan_outputs(run, settings.mode_a, settings.mode_b, layers=list(settings.layers), items=[settings.item])
notebook.finish(result, results_dir, "4_scan_outputs", lang)

# %% [markdown]
# ## The finding in pictures
#
# What stays inside the band of the floor is rounding; only what leaves it can have a cause worth looking for.

# %%
notebook.show_figures(result)

# %% [markdown]
# ## Look for yourself
#
# Choose two modes, a layer, a token and a stage; a click into the map chooses its layer and token.

# %%
widgets.explore(
    result, "map", "along", "text", stage="scan.y", stages=("scan.y", "hadamard", "out_proj", "residual"),
)

# %% [markdown]
# ## The numbers behind it

# %%
notebook.show_tables(result)
