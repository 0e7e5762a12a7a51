# %% [markdown]
# # Step 3. Do both scans turn codes into the same values?
#
# The debug plan's third step tests its cause 2, the way scales are applied. It asks four things about the dequantization (a code becomes a number again: code times scale) inside the scan: (a) is it always `float(code) * scale`, (b) are scales applied first or last, (c) is there a clamp to ±127, (d) is the type conversion the same?
#
# An INT8 operand has 256 codes. So nothing needs to be sampled and nothing believed: every scan is given inputs that let the value of one operand come out by itself, for each of the 256 codes, at each layer's own scale. Only the outputs of the scan are used, never its source.
#
# What differs legally is the *association* of the products that follow. The published kernel computes $B \cdot (\Delta \cdot u)$ per element, the PyTorch scan $(\Delta \cdot B) \cdot u$ on whole tensors. Each product rounds once; the roundings fall in different places.

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
# Every scan that can run here is given all 256 codes of each operand, at each layer's own scale.

# %%
result = steps.dequantization(run, settings.mode_a, settings.mode_b, layers=list(settings.layers), item=settings.item)
notebook.finish(result, results_dir, "3_dequantization", lang)

# %% [markdown]
# ## The finding in pictures
#
# 256 means that every code has the value code × scale as far as it can be seen from outside.

# %%
notebook.show_figures(result)

# %% [markdown]
# ## Look for yourself
#
# Choose a layer to see its audit, and what each wrong dequantization would have done to `y` there.

# %%
widgets.explore(result, "number", "text")

# %% [markdown]
# ## The numbers behind it

# %%
notebook.show_tables(result)
