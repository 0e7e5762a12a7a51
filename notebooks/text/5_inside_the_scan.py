# %% [markdown]
# # Step 5. Which operation inside the scan makes the difference?
#
# The debug plan's fifth step asks to walk through the scan (dequantize, recurrence, output) and to find the first place where the PyTorch scan introduces an error. Its causes 1 (the scan itself), 3 (quantization of the state) and 4 (order of the operations) are told apart here.
#
# For each channel $d$ and state $n$ the scan computes
#
# $$h_t = \underbrace{e^{\Delta_t A}}_{\text{decay}}\, h_{t-1} + \underbrace{\Delta_t B_t u_t}_{\text{drive}}, \qquad y_t = \Big(\underbrace{\textstyle\sum_n C_t h_t}_{\text{contraction}} + \underbrace{D u_t}_{\text{skip}}\Big) \cdot \underbrace{\mathrm{silu}(z_t)}_{\text{gate}}.$$
#
# Both scans are given *the same* inputs, and the output of every operation is compared with float64. So an error that an operation makes is told apart from one that it was handed.

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
# Both scans receive the same inputs, and the output of every operation is held against the same operation in float64.

# %%
result = steps.inside_the_scan(run, settings.mode_a, settings.mode_b, layers=list(settings.layers), item=settings.item)
notebook.finish(result, results_dir, "5_inside_the_scan", lang)

# %% [markdown]
# ## The finding in pictures
#
# Read the pictures in the order of computation: the first operation that leaves the band of the floor is where the difference enters.

# %%
notebook.show_figures(result)

# %% [markdown]
# ## Look for yourself
#
# Choose a layer, a token and an operation.

# %%
widgets.explore(result, "number", "text")

# %% [markdown]
# ## Where does the error of the state come from?
#
# The recurrence is linear given its decays, so the error $e_t = h_t - h_t^{\mathrm{FP64}}$ of a state can be taken apart to the last digit:
#
# $$e_t = \underbrace{a_t^* e_{t-1}}_{\text{inherited}} + \underbrace{(a_t - a_t^*)\, h_{t-1}}_{\text{decay}} + \underbrace{b_t - b_t^*}_{\text{drive}} + \underbrace{h_t - (a_t h_{t-1} + b_t)}_{\text{rounding of the update}}.$$
#
# The parts must sum to the observed error, and the update may leave over no more than float32 rounding can; otherwise the budget is reported as not closing.

# %%
budget = steps.error_budget(run, settings.mode_a, settings.mode_b, layers=list(settings.layers), item=settings.item)
notebook.finish(budget, results_dir, "5_error_budget", lang)

# %%
notebook.show_figures(budget, ["budget", "half-life"])

# %%
widgets.explore(budget)

# %% [markdown]
# ## Can quantization of the state explain it?
#
# The plan's cause 3. The state is rounded never, at the end, every 16 tokens or every token, by three rules and with four scales, first in the scan alone, then in the whole model.

# %%
state = steps.state_quantization(
    run, settings.mode_a, settings.mode_b, layers=[settings.layers[0], settings.layers[-1]], item=settings.item,
    items=min(2, settings.limit),
)
notebook.finish(state, results_dir, "5_state_quantization", lang)

# %%
notebook.show_figures(state, ["along-decode", "logits"])

# %%
widgets.explore(state)

# %% [markdown]
# ## Which choice of the arithmetic, and what share?
#
# Both scans are settings of one scan with a switch for every free choice. The switches are moved from the one setting to the other in many orders; what a switch adds on average is its Shapley share, and the shares sum to the whole difference.

# %%
shares = steps.causes(run, settings.mode_a, settings.mode_b, layers=[settings.layers[0]], items=[settings.item])
notebook.finish(shares, results_dir, "5_causes", lang)

# %%
notebook.show_figures(shares)

# %%
widgets.explore(shares)

# %% [markdown]
# ## Where does a rounding become a difference?
#
# One unit in the last place is sent into each layer and followed through the places that round to INT8 codes. A tie turns a hair's breadth into a whole code.

# %%
amplified = steps.amplifiers(run, settings.mode_a, settings.mode_b, items=[settings.item])
notebook.finish(amplified, results_dir, "5_amplifiers", lang)

# %%
notebook.show_figures(amplified)

# %%
widgets.explore(amplified)

# %% [markdown]
# ## Which stage turns an answer?
#
# For items that the two modes answer differently, values of the reference are put into the other mode's run, one stage of one layer at a time, until the answer turns back.

# %%
answers = steps.answer_tracing(run, settings.mode_a, settings.mode_b, most=2, tries=10)
notebook.finish(answers, results_dir, "5_answer_tracing", lang)

# %%
notebook.show_figures(answers)

# %%
widgets.explore(answers)

# %% [markdown]
# ## The numbers behind it

# %%
notebook.show_tables(result)
notebook.show_tables(budget)
notebook.show_tables(state)
notebook.show_tables(shares)
notebook.show_tables(amplified)
notebook.show_tables(answers)
