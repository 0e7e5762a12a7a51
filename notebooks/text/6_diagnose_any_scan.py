# %% [markdown]
# # Diagnose any scan: which operation is at fault?
#
# A scan is a function of `ScanInputs` that returns `y`. It is called some 1,800 times with small inputs that each exercise as few operations as possible, and every answer is held to a bound that any honest float32 implementation keeps: any order of summation, any association, fused or not, any exp within 2 ULP, fast math included. What stays inside is `rounding` and has no culprit. What leaves a bound is a `fault`, and the first rung of the ladder that shows it names the operation.

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
from quamba_lab import notebook, widgets
from quamba_lab.diagnose import diagnose
from quamba_lab.diagnose.gallery import faults
from quamba_lab.diagnose.survey import survey
from quamba_lab.scans.variants import Variant

settings = notebook.begin(
    In, model=model, task=task, modes=modes, mode_a=mode_a, mode_b=mode_b, limit=limit, layers=layers, item=item,
    seed=seed, device=device, lang=lang,
)
run = notebook.open_workbook(settings, cache_dir)

# %% [markdown]
# ## The scans of this project, and a gallery of planted faults
#
# Every scan that runs on this machine, then honest scans with one fault planted in each.

# %%
result = survey(seed=settings.seed, device=settings.device)
notebook.finish(result, results_dir, "6_diagnose_any_scan", lang)

# %% [markdown]
# ## Fingerprints
#
# One row for each scan, one column for each rung of the ladder. Operations leave different marks: learn to read them from left to right, the first mark is the simplest input that fails.

# %%
notebook.show_figures(result)

# %% [markdown]
# ## Look for yourself
#
# Choose a scan and see its fingerprint.

# %%
widgets.explore(result, "on-model", "text")

# %% [markdown]
# ## The answers in words

# %%
notebook.show_tables(result)

# %% [markdown]
# ## Bring your own
#
# Put your function in the place of `my_scan`. It takes `ScanInputs` and returns a `ScanOutput`, or just `y` as float16 (b, l, d).

# %%
my_scan = faults()["carry lost every 16"].scan(Variant())
diagnosis = diagnose(my_scan, against="oracle", seed=settings.seed)
print(diagnosis.sentence())

# %% [markdown]
# The smallest input found that shows it, as a program of its own. `diagnosis.save_reproducer("fault.py")` writes it to a file.

# %%
print(diagnosis.reproducer)
