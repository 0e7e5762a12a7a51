"""Chinese of the notebooks' prose, by the English paragraph."""

from __future__ import annotations

__all__ = ["PARAGRAPHS"]

PARAGRAPHS: dict[str, str] = {
    "# Two modes of one quantized Mamba disagree: is it real, and what causes it?": (
        "# 同一个量化 Mamba 的两种模式结果不同：差异真实吗？原因是什么？"
    ),
    (
        "The question comes from a debug plan, a document of five steps written by somebody who ports Mamba's "
        "selective scan. It starts from two numbers: a quantized Mamba answered 38 % of the first 100 items of "
        "`lambada_openai` rightly with its CUDA scan (modes 0 and 2-0), and 36 % with a PyTorch scan in its place "
        "(modes 2-1 and 2-2). In theory the two should agree. The plan suspects four causes, the likeliest first: "
        "(1) the PyTorch scan itself, (2) the way it applies the scales of INT8 values, (3) the quantization of "
        "the scan's state, (4) the order of floating-point operations."
    ): (
        "问题来自一份调试计划，它分为五个步骤，作者正在移植 Mamba 的选择性扫描。计划从两个数字开始：一个量化 Mamba "
        "在 `lambada_openai` 的前 100 个样本上，用 CUDA 扫描（模式 0 和 2-0）答对 38 %，换成 PyTorch 扫描（模式 "
        "2-1 和 2-2）则答对 36 %，而理论上两者应当一致。计划怀疑四个原因，最可能的在前：(1) PyTorch 扫描本身；(2) "
        "它应用 INT8 数值的 scale 的方式；(3) 扫描状态的量化；(4) 浮点运算的次序。"
    ),
    (
        "Here the five steps are taken together, for one model and one task. A **mode** is one way to run the same "
        "quantized layer: what conv1d hands on, what becomes of the scan's input `u`, and which scan runs. Nothing "
        "else differs between modes, so whatever differs in the answers comes from there."
    ): (
        "本页针对一个模型和一个任务，汇总这五个步骤。所谓**模式**，是运行同一个量化层的一种方式：conv1d 输出什么，"
        "扫描的输入 `u` 变成什么，运行哪一个扫描。模式之间再无其他不同，因此答案的任何差异都来自这里。"
    ),
    "## The answer": "## 结论",
    (
        "First whether there is a difference at all, then who is closer to the truth, where the difference enters, "
        "and what to do."
    ): "先判断差异是否存在，再看谁更接近真值、差异从哪里进入，以及应该怎么做。",
    "## The pictures that carry it": "## 支撑结论的图",
    (
        "From top to bottom: is there a difference in the answers, how large is it beside what harmless "
        "reorderings of the same arithmetic do (the *floor*), what do the scans add layer by layer when both get "
        "the same inputs (*lockstep*), and after which operation of the scan does it show?"
    ): (
        "从上到下依次为：答案有没有差异；与同一算术的无害重排所带来的变化（*误差下限*）相比差异有多大；两个扫描得到"
        "相同输入时（*锁步*）各层各自增加多少；以及差异在扫描的哪个运算之后显现。"
    ),
    "## Look for yourself": "## 自行查看",
    (
        "Choose two modes, an item, a layer and a token; a choice holds in every section and in the report's other "
        "pages."
    ): "选择两种模式、样本、层和词元；这一选择对各节以及报告的其他页面都有效。",
    "## What really ran": "## 实际运行了什么",
    (
        "A mode that is an inert switch looks exactly like a mode that changes nothing. So every run records, "
        "layer by layer, which scan ran in which build, and the dtype and the number of distinct values of its "
        "input. Mode 2-2, for example, must receive float32 values, at most 256 distinct ones, because they lie on "
        "the INT8 grid, the values that an 8-bit code times its scale can take."
    ): (
        "一个不起作用的开关，看上去和一个不改变任何结果的模式完全一样。因此每次运行都逐层记录：哪一个扫描、以哪种构"
        "建运行，以及它的输入的数据类型和不同取值的个数。例如模式 2-2 必须收到 float32 的值，而且最多 256 个不同取"
        "值，因为这些值都落在 INT8 网格上，也就是一个 8 位码值乘以它的 scale 所能取到的值。"
    ),
    "# Step 1. Is the difference real?": "# 步骤 1　差异真实吗？",
    (
        "The debug plan's first step asks: run modes 0, 2-1 and 2-2 on the same task with the same number of items;"
        " if 2-2 scores 36 % as well, the PyTorch scan itself is to blame, its cause 1. (A *mode* is one way to "
        "run the same quantized layer: mode 0 with the CUDA scan, 2-1 and 2-2 with a PyTorch scan on INT8 and on "
        "FP32 inputs.)"
    ): (
        "调试计划的步骤 1：在同一任务、同样的样本数上运行模式 0、2-1 和 2-2；如果 2-2 也是 36 %，问题就出在 "
        "PyTorch 扫描本身，即原因 1。（*模式*是运行同一个量化层的一种方式：模式 0 用 CUDA 扫描，2-1 和 2-2 用 "
        "PyTorch 扫描，输入分别为 INT8 和 FP32。）"
    ),
    (
        "Two percent of a hundred items are two items. The modes answer the *same* items, so what counts is not "
        "the two accuracies but the items on which they differ. When $b$ items are right only in mode A and $c$ "
        "only in mode B, an honest coin explains the split with probability"
    ): (
        "一百个样本的百分之二就是两个样本。各模式回答的是*同一批*样本，因此起作用的不是两个正确率，而是答案不一致的"
        "那些样本。设有 $b$ 个样本只有模式 A 答对，$c$ 个只有模式 B 答对，那么一枚均匀硬币产生这种分配的概率为"
    ),
    "$$p = \\min\\Big(1,\\; 2 \\sum_{k=0}^{\\min(b,c)} \\binom{b+c}{k} 2^{-(b+c)}\\Big),$$": (
        "$$p = \\min\\Big(1,\\; 2 \\sum_{k=0}^{\\min(b,c)} \\binom{b+c}{k} 2^{-(b+c)}\\Big),$$"
    ),
    (
        "which is McNemar's exact test. With $b = 2$ and $c = 0$ it gives $p = 0.5$. The probability of the target "
        "word is a finer instrument than right or wrong, so a paired test on each item's log-probability (natural "
        "logarithm, in nats) stands beside it. Several pairs of modes are tested at once; the p-values marked "
        "*Holm* are corrected for that."
    ): (
        "这就是 McNemar 精确检验。$b = 2$、$c = 0$ 时 $p = 0.5$。目标词的概率比“对或错”更灵敏，因此旁边还列出对每个"
        "样本对数概率（自然对数，单位 nat）的配对检验。由于同时检验多对模式，标有 *Holm* 的 p 值已作多重比较校正。"
    ),
    "## What the plan's own figures allow": "## 计划自己的数字能说明什么",
    (
        "Before anything is run here: 38 of 100 and 36 of 100 leave open which items were flipped, so every table of "
        "flips that agrees with the two counts is tested."
    ): (
        "在这里运行任何东西之前：100 个中答对 38 个与答对 36 个，并没有说明是哪些样本翻转了，"
        "因此对与这两个计数相符的每一张翻转表都做检验。"
    ),
    "## What came out": "## 结果",
    (
        "Every mode answers the same items. Accuracy is the share of items whose last word greedy decoding gets "
        "right; perplexity is $e$ to the mean negative log-probability of the target, as lm-evaluation-harness "
        "defines both for LAMBADA. The control is the reference mode run twice, which must agree with itself bit "
        "for bit."
    ): (
        "各模式回答同一批样本。正确率是贪心解码答对最后一个词的样本所占的比例；困惑度是 $e$ 的“目标词平均负对数概率"
        "”次方，两者都按 lm-evaluation-harness 对 LAMBADA 的定义计算。对照是把参考模式运行两遍，两遍必须逐位一致。"
    ),
    "## The finding in pictures": "## 图示",
    "Intervals are 95 %. A pair of modes whose interval holds zero has not been told apart.": (
        "区间均为 95 %。区间包含零的一对模式，尚不能区分。"
    ),
    "Choose two modes and an item: a click into the curve chooses the item, a click into the text a token.": (
        "选择两种模式和一个样本：点击曲线选择样本，点击原文选择词元。"
    ),
    "## The numbers behind it": "## 背后的数字",
    "# Step 2. Do both scans receive the same inputs?": "# 步骤 2　两个扫描收到的输入相同吗？",
    (
        "The debug plan's second step asks for shape, dtype, range, mean, standard deviation and scale of `u`, the "
        "scan's main input, in modes 0 and 2-1, and the same of the dequantized values. It expects them to be "
        "identical: then the first two differences of its stage table (what is handed on after conv1d, and what "
        "the scan receives) are no cause."
    ): (
        "调试计划的步骤 2 要求比较模式 0 和 2-1 中扫描的主要输入 `u` 的形状、数据类型、值域、均值、标准差和 scale，"
        "以及反量化之后的同样各项，并预期它们完全相同：果真如此，阶段对比表中的前两处差异（conv1d 之后传下去的数据"
        "、扫描收到的数据）就不是原因。"
    ),
    (
        "Two questions hide in this one. In a **free run** each mode runs the whole model, so a difference made in "
        "one layer reaches the inputs of all later ones. In **lockstep** every layer of mode B is given mode A's "
        "input, so only what that layer itself adds is left. A mode that is innocent up to the scan shows no "
        "difference in lockstep at any layer, whatever the free run looks like."
    ): (
        "这里其实有两个问题。**自由运行**时，每种模式各自运行整个模型，某一层产生的差异会传到后面所有层的输入。**锁"
        "步**时，模式 B 的每一层都收到模式 A 的输入，剩下的只有该层自己增加的差异。如果一种模式在扫描之前没有问题，"
        "那么无论自由运行的结果如何，锁步时任何一层都不会出现差异。"
    ),
    (
        "INT8 tensors are compared as codes first and as values second: two tensors can hold the same codes under "
        "different scales, and the other way round. A **code flip** is a value that two modes round to different "
        "codes; each is traced to its reason: a tie between two codes, a clipped value, another scale, or an input "
        "that differed already (upstream)."
    ): (
        "INT8 张量先比较码值，再比较数值：两个张量可以码值相同而 scale 不同，反过来也一样。**码值翻转**指一个数值在"
        "两种模式中被舍入成不同的码值；每一处翻转都追溯到原因：恰在两个码值的舍入边界上、被截断、scale 不同，或者输"
        "入本来就不同（上游）。"
    ),
    "Every operand of the scan is taken from both modes at each layer, in the free run and in lockstep.": (
        "在每一层，分别在自由运行和锁步下取出两种模式中扫描的每一个操作数。"
    ),
    "A layer that shows no difference in lockstep adds none of its own.": "锁步时没有差异的层，自身不增加任何差异。",
    "Choose two modes, a layer, a token and a stage; a click into the map chooses its layer and token.": (
        "选择两种模式、层、词元和阶段；点击图可选择其中的层和词元。"
    ),
    "# Step 3. Do both scans turn codes into the same values?": "# 步骤 3　两个扫描把码值变成同样的数值吗？",
    (
        "The debug plan's third step tests its cause 2, the way scales are applied. It asks four things about the "
        "dequantization (a code becomes a number again: code times scale) inside the scan: (a) is it always "
        "`float(code) * scale`, (b) are scales applied first or last, (c) is there a clamp to ±127, (d) is the "
        "type conversion the same?"
    ): (
        "调试计划的步骤 3 检验原因 2，即 scale 的应用方式。关于扫描内部的反量化（码值重新变成数值：码值乘以 scale）"
        "，它提出四个检查项：(a) 公式是否都是 `float(code) * scale`；(b) scale 是先乘还是后乘；(c) 是否有到 ±127 的"
        "裁剪；(d) 类型转换是否一致。"
    ),
    (
        "An INT8 operand has 256 codes. So nothing needs to be sampled and nothing believed: every scan is given "
        "inputs that let the value of one operand come out by itself, for each of the 256 codes, at each layer's "
        "own scale. Only the outputs of the scan are used, never its source."
    ): (
        "一个 INT8 操作数只有 256 个码值，所以既不需要抽样，也不需要相信谁：给每个扫描构造特殊的输入，使某个操作数"
        "的数值单独显现出来，对 256 个码值逐一进行，并使用每一层自己的 scale。这里只用扫描的输出，从不看它的源码。"
    ),
    (
        "What differs legally is the *association* of the products that follow. The published kernel computes $B "
        "\\cdot (\\Delta \\cdot u)$ per element, the PyTorch scan $(\\Delta \\cdot B) \\cdot u$ on whole tensors. "
        "Each product rounds once; the roundings fall in different places."
    ): (
        "可以合法地不同的，是随后各乘积的*结合次序*。已发布的内核逐元素计算 $B \\cdot (\\Delta \\cdot u)$，PyTorch "
        "扫描则对整个张量计算 $(\\Delta \\cdot B) \\cdot u$。每次乘法舍入一次，两种次序的舍入落在不同的位置。"
    ),
    "Every scan that can run here is given all 256 codes of each operand, at each layer's own scale.": (
        "凡是能在这里运行的扫描，都以每一层自己的 scale 输入每个操作数的全部 256 个码值。"
    ),
    "256 means that every code has the value code × scale as far as it can be seen from outside.": (
        "256 表示：从外部所能看到的精度内，每个码值的数值都等于 码值 × scale。"
    ),
    "Choose a layer to see its audit, and what each wrong dequantization would have done to `y` there.": (
        "选择一层，查看它的检查结果，以及每一种错误的反量化会怎样改变那里的 `y`。"
    ),
    "# Step 4. How far apart are the scans' outputs?": "# 步骤 4　两个扫描的输出相差多少？",
    (
        "The debug plan's fourth step asks for shape, dtype, range, mean and standard deviation of `y`, the scan's "
        "output, in each mode, and the largest and the mean absolute difference from the reference mode."
    ): (
        "调试计划的步骤 4 要求比较各模式中扫描的输出 `y` 的形状、数据类型、值域、均值和标准差，以及与参考模式的最大"
        "和平均绝对差。"
    ),
    (
        "A difference has no size by itself. Two rulers are laid beside it. The first is the **floor**: what the "
        "same arithmetic changes when it is legally reordered (another batch split, another chunk size, another "
        "order of a sum). Nothing below the floor can be blamed on anybody. The second is the **oracle**, the same "
        "recurrence in float64: it says which of two modes is nearer to the truth, not just how far they are apart."
    ): (
        "差异本身无所谓大小，因此旁边放两把尺子。第一把是**误差下限**：同一算术经过合法重排（换一种分批、换一种分块"
        "、换一种求和次序）所产生的变化。低于误差下限的差异不能归咎于任何一方。第二把是 **FP64 基准（oracle）**，即"
        "用 float64 计算的同一递推：它不仅说明两种模式相差多少，还说明哪一种更接近真值。"
    ),
    (
        "In a *free run* each mode runs the whole model and differences add up; in *lockstep* every layer of mode "
        "B gets mode A's input, so that only what its scan adds is left. Errors are divided by the RMS of `y`. A "
        "relative error per element would mostly measure how near to zero an element happens to be. A *ULP*, a "
        "unit in the last place, is the step from one floating-point number to the next."
    ): (
        "*自由运行*时，每种模式各自运行整个模型，差异会累积；*锁步*时，模式 B 的每一层都收到模式 A 的输入，只剩下该"
        "层的扫描自己增加的差异。误差都除以 `y` 的 RMS，因为逐元素的相对误差主要反映的是该元素碰巧离零有多近。*ULP*"
        "（末位单位）是一个浮点数到下一个浮点数的间隔。"
    ),
    (
        "The output `y` of every mode is taken at each layer, in the free run and in lockstep, and held against "
        "the reference, the floor and the oracle."
    ): "在每一层，分别在自由运行和锁步下取出各模式的输出 `y`，与参考模式、误差下限和 FP64 基准对比。",
    (
        "What stays inside the band of the floor is rounding; only what leaves it can have a cause worth looking for."
    ): "落在误差下限之内的是舍入；只有超出它的差异才值得追查原因。",
    "# Step 5. Which operation inside the scan makes the difference?": "# 步骤 5　差异出自扫描内部的哪一个运算？",
    (
        "The debug plan's fifth step asks to walk through the scan (dequantize, recurrence, output) and to find "
        "the first place where the PyTorch scan introduces an error. Its causes 1 (the scan itself), 3 "
        "(quantization of the state) and 4 (order of the operations) are told apart here."
    ): (
        "调试计划的步骤 5 要求沿着扫描逐步走一遍（反量化、递推、输出），找出 PyTorch 扫描最先引入误差的地方。在这里"
        "区分计划的原因 1（扫描本身）、原因 3（状态的量化）和原因 4（运算次序）。"
    ),
    "For each channel $d$ and state $n$ the scan computes": "对每个通道 $d$ 和状态 $n$，扫描计算",
    (
        "$$h_t = \\underbrace{e^{\\Delta_t A}}_{\\text{decay}}\\, h_{t-1} + \\underbrace{\\Delta_t B_t "
        "u_t}_{\\text{drive}}, \\qquad y_t = \\Big(\\underbrace{\\textstyle\\sum_n C_t h_t}_{\\text{contraction}} "
        "+ \\underbrace{D u_t}_{\\text{skip}}\\Big) \\cdot \\underbrace{\\mathrm{silu}(z_t)}_{\\text{gate}}.$$"
    ): (
        "$$h_t = \\underbrace{e^{\\Delta_t A}}_{\\text{衰减}}\\, h_{t-1} + \\underbrace{\\Delta_t B_t u_t}_{\\text{"
        "驱动项}}, \\qquad y_t = \\Big(\\underbrace{\\textstyle\\sum_n C_t h_t}_{\\text{收缩}} + \\underbrace{D "
        "u_t}_{\\text{直通}}\\Big) \\cdot \\underbrace{\\mathrm{silu}(z_t)}_{\\text{门控}}.$$"
    ),
    (
        "Both scans are given *the same* inputs, and the output of every operation is compared with float64. So an "
        "error that an operation makes is told apart from one that it was handed."
    ): (
        "两个扫描得到*相同*的输入，每个运算的输出都与 float64 比较。这样就能区分误差是某个运算自己产生的，还是从前"
        "面传来的。"
    ),
    (
        "Both scans receive the same inputs, and the output of every operation is held against the same operation "
        "in float64."
    ): "两个扫描收到相同的输入，每个运算的输出都与 float64 下的同一运算对比。",
    (
        "Read the pictures in the order of computation: the first operation that leaves the band of the floor is "
        "where the difference enters."
    ): "请按计算次序看图：第一个超出误差下限的运算，就是差异进入的地方。",
    "Choose a layer, a token and an operation.": "选择层、词元和运算。",
    "## Where does the error of the state come from?": "## 状态的误差从哪里来？",
    (
        "The recurrence is linear given its decays, so the error $e_t = h_t - h_t^{\\mathrm{FP64}}$ of a state can "
        "be taken apart to the last digit:"
    ): "给定衰减系数后，递推是线性的，因此状态的误差 $e_t = h_t - h_t^{\\mathrm{FP64}}$ 可以精确分解到最后一位：",
    (
        "$$e_t = \\underbrace{a_t^* e_{t-1}}_{\\text{inherited}} + \\underbrace{(a_t - a_t^*)\\, "
        "h_{t-1}}_{\\text{decay}} + \\underbrace{b_t - b_t^*}_{\\text{drive}} + \\underbrace{h_t - (a_t h_{t-1} + "
        "b_t)}_{\\text{rounding of the update}}.$$"
    ): (
        "$$e_t = \\underbrace{a_t^* e_{t-1}}_{\\text{继承}} + \\underbrace{(a_t - a_t^*)\\, h_{t-1}}_{\\text{衰减"
        "}} + \\underbrace{b_t - b_t^*}_{\\text{驱动项}} + \\underbrace{h_t - (a_t h_{t-1} + b_t)}_{\\text{更新的舍"
        "入}}.$$"
    ),
    (
        "The parts must sum to the observed error, and the update may leave over no more than float32 rounding can;"
        " otherwise the budget is reported as not closing."
    ): (
        "各部分之和必须等于实际观察到的误差，更新一项的剩余不得超过 float32 舍入所能产生的量；否则报告会写明误差预"
        "算不闭合。"
    ),
    "## Can quantization of the state explain it?": "## 状态量化能解释它吗？",
    (
        "The plan's cause 3. The state is rounded never, at the end, every 16 tokens or every token, by three "
        "rules and with four scales, first in the scan alone, then in the whole model."
    ): (
        "这是计划的原因 3。让状态从不舍入、只在结尾舍入、每 16 个词元舍入一次或每个词元都舍入，配合三种舍入规则和四"
        "种 scale，先只在扫描中试验，再放到整个模型里。"
    ),
    "## Which choice of the arithmetic, and what share?": "## 算术上的哪一种选择，占多大份额？",
    (
        "Both scans are settings of one scan with a switch for every free choice. The switches are moved from the "
        "one setting to the other in many orders; what a switch adds on average is its Shapley share, and the "
        "shares sum to the whole difference."
    ): (
        "两个扫描是同一个扫描的两种设置，每个可自由选择之处都有一个开关。按许多种次序把开关从一种设置逐个拨到另一种"
        "设置；某个开关平均增加的量就是它的 Shapley 份额，所有份额之和等于全部差异。"
    ),
    "## Where does a rounding become a difference?": "## 舍入在哪里变成了差异？",
    (
        "One unit in the last place is sent into each layer and followed through the places that round to INT8 "
        "codes. A tie turns a hair's breadth into a whole code."
    ): (
        "在每一层输入一个 ULP 的扰动，沿着舍入为 INT8 码值的各个位置追踪下去。恰好处在舍入边界上时，毫厘之差会变成"
        "整整一个码值。"
    ),
    "## Which stage turns an answer?": "## 哪个阶段改变了答案？",
    (
        "For items that the two modes answer differently, values of the reference are put into the other mode's run"
        ", one stage of one layer at a time, until the answer turns back."
    ): "对两种模式答案不同的样本，把参考模式的数值逐层、逐阶段地放进另一种模式的运行中，直到答案变回来。",
    "# Diagnose any scan: which operation is at fault?": "# 诊断任意扫描：哪个运算有错？",
    (
        "A scan is a function of `ScanInputs` that returns `y`. It is called some 1,800 times with small inputs "
        "that each exercise as few operations as possible, and every answer is held to a bound that any honest "
        "float32 implementation keeps: any order of summation, any association, fused or not, any exp within 2 ULP,"
        " fast math included. What stays inside is `rounding` and has no culprit. What leaves a bound is a `fault`,"
        " and the first rung of the ladder that shows it names the operation."
    ): (
        "扫描是以 `ScanInputs` 为参数、返回 `y` 的函数。诊断用大约 1800 组小输入调用它，每组输入只涉及尽可能少的运"
        "算，并用一个界限检查每次的结果；任何诚实的 float32 实现都满足这个界限：任意求和次序、任意结合次序、乘加是"
        "否融合、exp 误差在 2 ULP 以内，快速数学也算在内。界限之内的是“舍入级差异”，没有责任方；超出界限的是“实现错"
        "误”，由最先显出它的那一级探针指出是哪个运算。"
    ),
    "## The scans of this project, and a gallery of planted faults": "## 本项目的各个扫描，以及一组植入的错误",
    "Every scan that runs on this machine, then honest scans with one fault planted in each.": (
        "先是能在本机运行的每一个扫描，然后是各植入一个错误的正确扫描。"
    ),
    "## Fingerprints": "## 指纹",
    (
        "One row for each scan, one column for each rung of the ladder. Operations leave different marks: learn to "
        "read them from left to right, the first mark is the simplest input that fails."
    ): (
        "每个扫描一行，每一级探针一列。不同的运算留下不同的痕迹；请从左往右看，第一个痕迹就是能使它出错的最简单的输入。"
    ),
    "Choose a scan and see its fingerprint.": "选择一个扫描，查看它的指纹。",
    "## The answers in words": "## 文字结论",
    "## Bring your own": "## 诊断自己的扫描",
    (
        "Put your function in the place of `my_scan`. It takes `ScanInputs` and returns a `ScanOutput`, or just "
        "`y` as float16 (b, l, d)."
    ): (
        "把 `my_scan` 换成你自己的函数。它以 `ScanInputs` 为参数，返回 `ScanOutput`，或者只返回 float16 的 `y`，形"
        "状为 (b, l, d)。"
    ),
    (
        'The smallest input found that shows it, as a program of its own. `diagnosis.save_reproducer("fault.py"'
        ")` writes it to a file."
    ): '这里是能显出错误的最小输入，写成一个独立的程序。`diagnosis.save_reproducer("fault.py")` 把它写入文件。',
}
