# %% [markdown]
# # Step 1. Is the difference real?
#
# The debug plan's first step asks: run modes 0, 2-1 and 2-2 on the same task with the same number of items; if 2-2 scores 36 % as well, the PyTorch scan itself is to blame, its cause 1. (A *mode* is one way to run the same quantized layer: mode 0 with the CUDA scan, 2-1 and 2-2 with a PyTorch scan on INT8 and on FP32 inputs.)
#
# Two percent of a hundred items are two items. The modes answer the *same* items, so what counts is not the two accuracies but the items on which they differ. When $b$ items are right only in mode A and $c$ only in mode B, an honest coin explains the split with probability
#
# $$p = \min\Big(1,\; 2 \sum_{k=0}^{\min(b,c)} \binom{b+c}{k} 2^{-(b+c)}\Big),$$
#
# which is McNemar's exact test. With $b = 2$ and $c = 0$ it gives $p = 0.5$. The probability of the target word is a finer instrument than right or wrong, so a paired test on each item's log-probability (natural logarithm, in nats) stands beside it. Several pairs of modes are tested at once; the p-values marked *Holm* are corrected for that.

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
# ## What the plan's own figures allow
#
# Before anything is run here: 38 of 100 and 36 of 100 leave open which items were flipped, so every table of flips that agrees with the two counts is tested.

# %%
plan = steps.plans_figures()
notebook.show_verdict(plan, lang)
notebook.show_figures(plan)

# %% [markdown]
# ## What came out
#
# Every mode answers the same items. Accuracy is the share of items whose last word greedy decoding gets right; perplexity is $e$ to the mean negative log-probability of the target, as lm-evaluation-harness defines both for LAMBADA. The control is the reference mode run twice, which must agree with itself bit for bit.

# %%
result = steps.is_it_real(run, reference=settings.mode_a)
notebook.finish(result, results_dir, "1_is_it_real", lang)

# %% [markdown]
# ## The finding in pictures
#
# Intervals are 95 %. A pair of modes whose interval holds zero has not been told apart.

# %%
notebook.show_figures(result)

# %% [markdown]
# ## Look for yourself
#
# Choose two modes and an item: a click into the curve chooses the item, a click into the text a token.

# %%
widgets.explore("items", "text", "flips", "number")

# %% [markdown]
# ## The numbers behind it

# %%
notebook.show_tables(result)
