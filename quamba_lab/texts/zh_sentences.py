"""Chinese of every sentence that the code composes, by its English template; fields keep their names."""

from __future__ import annotations

__all__ = ["SENTENCES"]

SENTENCES: dict[str, str] = {
    "The kernel died, perhaps for want of memory.": "内核进程意外终止，可能是内存不足。",
    "A cell took longer than it may.": "某个单元格的运行时间超过了限制。",
    "It was told to stop.": "收到了停止的指令。",
    "a mode's name as a string, one of {modes}": "字符串形式的模式名，可选 {modes}",
    "'demo' or the path of a model folder": "'demo' 或模型文件夹的路径",
    "'lambada_demo' or the path of a .jsonl file": "'lambada_demo' 或 .jsonl 文件的路径",
    "a whole number of items, at least 1": "样本数，至少为 1 的整数",
    "the number of an item, 0 to {last}": "样本编号，0 到 {last}",
    "a whole number, at least 0": "不小于 0 的整数",
    "{name} is {value}, a {kind}: expected {hint}": "{name} 的值是 {value}，类型为 {kind}：应为{hint}",
    "{name} is {value}, which is no mode: choose one of {modes}": (
        "{name} 的值是 {value}，没有这种模式：请从 {modes} 中选择"
    ),
    "{name} is {value}, a {kind}: expected a list of {hint}": (
        "{name} 的值是 {value}，类型为 {kind}：应为{hint}的列表"
    ),
    "mode_a and mode_b are both {suspect}: choose two different modes to compare": (
        "mode_a 和 mode_b 都是 {suspect}：请选择两种不同的模式进行对比"
    ),
    "limit is {limit}: the task has {size} items, choose 1 to {size}": (
        "limit 的值是 {limit}：该任务有 {size} 个样本，请选择 1 到 {size}"
    ),
    "item is {item}: with limit {limit} the items are 0 to {last}": (
        "item 的值是 {item}：limit 为 {limit} 时样本编号为 0 到 {last}"
    ),
    "seed is {seed}: choose a whole number, at least 0": "seed 的值是 {seed}：请选择不小于 0 的整数",
    "lang is {lang}: choose one of {languages}": "lang 的值是 {lang}：请从 {languages} 中选择",
    "device is {device}: choose 'cpu' or 'cuda'": "device 的值是 {device}：请选择 'cpu' 或 'cuda'",
    "device is {device}, but torch sees no GPU: choose 'cpu', or see `quamba-lab doctor`": (
        "device 的值是 {device}，但 torch 没有找到 GPU：请选择 'cpu'，或查看 `quamba-lab doctor`"
    ),
    "an entry of {name}": "{name} 中的一项",
    "an entry of modes": "modes 中的一项",
    "layer {layer} is out of range: the model has {count} layers, 0 to {last}": (
        "层 {layer} 超出范围：该模型有 {count} 层，编号 0 到 {last}"
    ),
    "modes is {value}: two different modes are needed to compare, add one": (
        "modes 的值是 {value}：对比需要两种不同的模式，请再加一种"
    ),
    ".": "。",
    (
        "Codes out of 256 with the value code x scale, for each scan and operand, the least over the layers: {found}."
    ): "每个扫描、每个操作数的 256 个码值中，数值等于 码值 × scale 的个数（取各层最小值）：{found}。",
    "Nothing could be seen of {named}.": "无法观察到 {named}。",
    "The same in both: {conversion}.": "两者相同：{conversion}。",
    "{scans} cannot run here and was not audited.": "{scans} 无法在这里运行，未作检查。",
    "layer {layer}": "第 {layer} 层",
    (
        "Yes in {named}: all 256 codes of each of {count} operands, at every layer audited, have the value code x "
        "scale, as far as each can be seen (24 bits; z 11 bits)."
    ): (
        "{named} 中都是：在检查过的每一层，{count} 个操作数各自的全部 256 个码值，数值都等于 码值 × scale（在可观察"
        "的精度内：24 位，z 为 11 位）。"
    ),
    (
        "No: {scan} gives {count} of 256 codes of {operand} another value at layer {layer}, worst at code {code} "
        "({ulp} ULP)."
    ): (
        "不是：在第 {layer} 层，{scan} 对 {operand} 的 256 个码值中的 {count} 个给出了别的数值，最严重的是码值 "
        "{code}（{ulp} ULP）。"
    ),
    "{scan} takes {association} and adds D·u {place}": "{scan} 采用 {association}，D·u 的加入位置：{place}",
    "{scan} returns states in {range}, ties {ties}": "{scan} 返回的状态范围为 {range}，中点舍入：{ties}",
    "Found: {conversions}.": "发现：{conversions}。",
    "None could be seen.": "没有观察到。",
    "no layer was chosen": "没有选择任何层",
    "the scans showed nothing to the probes": "探针没有从扫描中观察到任何结果",
    "No dequantization could be audited: {why}.": "无法检查反量化：{why}。",
    (
        "A difference in dequantization: {scan} gives {count} of the 256 codes of {operand} a value other than "
        "code x scale (layer {layer}; {conversion} fits)."
    ): (
        "反量化存在差异：{scan} 对 {operand} 的 256 个码值中的 {count} 个给出的数值不等于 码值 × scale（第 {layer} "
        "层；符合“{conversion}”）。"
    ),
    (
        "Dequantization is not the cause: {scans} give all 256 codes of every operand the value code x scale "
        "({audits} audits, {codes} codes); {order}"
    ): (
        "反量化不是原因：{scans} 对每个操作数的全部 256 个码值给出的数值都等于 码值 × scale（{audits} 次检查，"
        "{codes} 个码值）；{order}"
    ),
    "What each difference would do to y, layer {layer}": "每种差异会怎样改变 y，第 {layer} 层",
    "none exactly; nearest {best}": "没有完全一致的；最接近 {best}",
    "not seen: {name}: {error}": "未观察到：{name}: {error}",
    "Codes out of 256 whose value is code x scale ({where})": "256 个码值中数值等于 码值 × scale 的个数（{where}）",
    "{wrong} of {total} audits find fewer": "{total} 次检查中有 {wrong} 次不足 256",
    "all 256 everywhere": "全部为 256",
    "This layer's alternatives were not computed.": "没有计算这一层的替代做法。",
    "Not seen.": "未观察到。",
    "No operand is clipped: code -128 is -128 x scale": "没有操作数被裁剪：码值 -128 就是 -128 × scale",
    "Code -128 is clipped in {operands}": "{operands} 的码值 -128 被裁剪",
    "they also multiply the scales in the same order.": "它们乘 scale 的次序也相同。",
    "what differs is the order of the products that follow, which rounds differently.": (
        "不同的是随后各乘积的次序，因而舍入不同。"
    ),
    "none when items run one at a time": "逐个样本运行时没有",
    "{stage} of layer {layer} (item {item})": "第 {layer} 层的 {stage}（样本 {item}）",
    "{stage} (item {item})": "{stage}（样本 {item}）",
    "mode {mode}": "模式 {mode}",
    "{b} from {a}": "{b} 与 {a} 之差",
    (
        "The difference is {multiple} times the largest floor of legal reorderings (95 % interval {low} to {high}; "
        "{kind})."
    ): "差异是合法重排最大误差下限的 {multiple} 倍（95 % 区间 {low} 到 {high}；{kind}）。",
    "{points} points": "{points} 个百分点",
    (
        "Legal reorderings of mode {mode} alone score {low} to {high} right, and mode {other} with {right} lies "
        "among them."
    ): "仅仅对模式 {mode} 作合法重排，答对数就在 {low} 到 {high} 之间；模式 {other} 答对 {right} 个，落在其中。",
    (
        "Legal reorderings of mode {mode} alone score {low} to {high} right; mode {other} with {right} lies outside."
    ): "仅仅对模式 {mode} 作合法重排，答对数在 {low} 到 {high} 之间；模式 {other} 答对 {right} 个，落在其外。",
    "the largest is {times} times": "最大为 {times} 倍",
    "none can be formed": "无法算出倍数",
    "Differences of log-probability as multiples of the floor of each kind of legal reordering; {top}.": (
        "对数概率的差异，以各类合法重排的误差下限为单位；{top}。"
    ),
    (
        "With {n} items (dashed) a loss of {points} points would be seen with a chance of {chance}; {power} "
        "(dotted) takes {items} items."
    ): (
        "用 {n} 个样本（虚线），下降 {points} 个百分点被检出的概率为 {chance}；要达到 {power}（点线）需要 {items} "
        "个样本。"
    ),
    "Only mode {mode} was run, so there is no difference to judge.": "只运行了模式 {mode}，没有可判断的差异。",
    "Not reproducible: mode {mode} differs from itself, first in {stage}.": (
        "不可复现：模式 {mode} 两次运行的结果不同，最先不同的是 {stage}。"
    ),
    "Every mode answers every item right, so accuracy cannot tell them apart; see log-probability.": (
        "每种模式都答对了所有样本，正确率无法区分它们；请看对数概率。"
    ),
    "Every mode answers every item wrong, so accuracy cannot tell them apart; see log-probability.": (
        "每种模式都答错了所有样本，正确率无法区分它们；请看对数概率。"
    ),
    "One item allows no test.": "只有一个样本，无法检验。",
    "Accuracy runs from {low} (mode {worst}) to {high} (mode {best}); their 95 % intervals {overlap}.": (
        "正确率从 {low}（模式 {worst}）到 {high}（模式 {best}）；两者的 95 % 区间{overlap}。"
    ),
    "Perplexity runs from {low} (mode {best}) to {high} (mode {worst}).": (
        "困惑度从 {low}（模式 {best}）到 {high}（模式 {worst}）。"
    ),
    "observed, {b} against {a}": "实测，{b} 对 {a}",
    "Each item's target, mode {b} against {a}": "每个样本的目标词，模式 {b} 对 {a}",
    "log-probability in mode {mode} (nats)": "模式 {mode} 的对数概率（nat）",
    "Identical: no mode changes a bit of any logit of mode {mode}.": (
        "逐位一致：没有一种模式改变模式 {mode} 的任何 logit 的任何一位。"
    ),
    "Every interval here rests on {count} item.": "这里的区间都只依据 {count} 个样本。",
    "Every interval here rests on {count} items only and is rather too narrow than too wide.": (
        "这里的区间都只依据 {count} 个样本，宁可认为偏窄而不是偏宽。"
    ),
    "{across} of {pairs} pairs have an interval of the accuracy difference that contains zero.": (
        "{pairs} 对模式中，有 {across} 对的正确率之差的区间包含零。"
    ),
    "{mode} / {kind}": "{mode} / {kind}",
    "right in {mode}": "{mode} 答对",
    "Change of each item's log-probability from mode {mode}": "每个样本的对数概率相对模式 {mode} 的变化",
    "Bit-equal to mode {mode}: {others}.": "与模式 {mode} 逐位一致：{others}。",
    (
        "Log-probability of each item's target in modes {reference} and {mode}: {unequal} of {n} items are not "
        "bit-equal, {discordant} change between right and wrong."
    ): (
        "每个样本的目标词在模式 {reference} 和 {mode} 下的对数概率：{n} 个样本中 {unequal} 个不是逐位一致，"
        "{discordant} 个在对错之间改变。"
    ),
    "overlap": "重叠",
    "do not overlap": "不重叠",
    "layer {names}": "第 {names} 层",
    "layers {names}": "第 {names} 层",
    "The cast after the Hadamard saturates here, so nothing can wrap around.": (
        "这里 Hadamard 之后的类型转换是饱和的，不会发生回绕。"
    ),
    (
        "The unclamped cast after the Hadamard is never hit: the largest of {codes} values in {items} items is "
        "{largest} codes from zero, and only 127.5 would wrap around."
    ): (
        "Hadamard 之后未作饱和的类型转换没有造成影响：{items} 个样本的 {codes} 个值中，离零最远的为 {largest} 个码"
        "值，而 127.5 才会回绕。"
    ),
    "No difference of log-probability stands beside the one of accuracy.": "除正确率之外，对数概率没有差异。",
    "No difference between modes {a} and {b} is established: {parts}.": "模式 {a} 与 {b} 之间的差异不成立：{parts}。",
    "its mean log-probability is {nats} nats lower (Holm p = {p})": (
        "平均对数概率低 {nats} nat（Holm 校正后 p = {p}）"
    ),
    "The less accurate mode, {mode}, has the worse log-probability too.": "正确率较低的模式 {mode}，对数概率也较差。",
    "The less accurate mode, {mode}, has the better log-probability, which speaks for chance.": (
        "正确率较低的模式 {mode}，对数概率反而较好，这说明差异更像是偶然。"
    ),
    "Neither is the less accurate one, so log-probability alone can tell them apart.": (
        "两者正确率相同，只有对数概率能够区分它们。"
    ),
    "Modes {a} and {b} are identical: every bit of every logit of {n} items is the same.": (
        "模式 {a} 与 {b} 逐位一致：{n} 个样本的每个 logit 的每一位都相同。"
    ),
    "A difference between modes {a} and {b} is established in {measures}: {parts}.": (
        "模式 {a} 与 {b} 之间的差异在{measures}上成立：{parts}。"
    ),
    "too few items have a finite log-probability in both modes for a test on it": (
        "两种模式下对数概率均为有限值的样本太少，无法检验"
    ),
    "its mean log-probability is {nats} nats higher (Holm p = {p})": (
        "平均对数概率高 {nats} nat（Holm 校正后 p = {p}）"
    ),
    "no number of items would show the observed difference in accuracy, which is zero": (
        "实测的正确率之差为零，多少样本也检不出来"
    ),
    "seeing the observed difference in accuracy would take {items} items": (
        "要检出实测的正确率之差需要 {items} 个样本"
    ),
    "and {points} points {items} ({power} power)": "要检出 {points} 个百分点需要 {items} 个样本（检验功效 {power}）",
    "the one in log-probability {items} items": "要检出对数概率之差需要 {items} 个样本",
    "accuracy": "正确率",
    "log-probability": "对数概率",
    "The plan's own figures with Wilson's 95 % interval": "计划自身的数字与 Wilson 95 % 区间",
    "mode {mode}: {hits} of {n}": "模式 {mode}：{n} 个中 {hits} 个",
    "share right": "答对的比例",
    "unclear (y = {value} for 1 + 2^25 - 2^25)": "不明确（1 + 2^25 - 2^25 得到 y = {value}）",
    "not defined": "无定义",
    "infinitely many": "无穷多",
    "minus infinity": "负无穷",
    (
        "With equal inputs to each layer, modes {a} and {b} give their scans the same values of u, dt, B, C and z, "
        "bit for bit, at every layer looked at: the inputs are not the cause."
    ): "各层输入相同时，模式 {a} 与 {b} 交给扫描的 u、dt、B、C、z 在查看过的每一层都逐位一致：输入不是原因。",
    (
        "In free run they part at layer {start}, after an earlier scan, and at most {part} of {stage} differs "
        "(layer {layer})."
    ): ("自由运行时两者从第 {start} 层开始分开（在更前面的扫描之后），{stage} 最多有 {part} 不同（第 {layer} 层）。"),
    "Values of {tensor} at layer {layer} in lockstep: {differing} of {elements} differ.": (
        "锁步时第 {layer} 层 {tensor} 的数值：{elements} 个中有 {differing} 个不同。"
    ),
    "Modes {a} and {b} give their scans tensors of different shapes: {note}.": (
        "模式 {a} 与 {b} 交给扫描的张量形状不同：{note}。"
    ),
    "Values of {tensor} at layer {layer}.": "第 {layer} 层 {tensor} 的数值。",
    "No layer or no item was chosen, so no scan input was compared.": "没有选择层或样本，因此没有比较扫描的输入。",
    (
        "With equal inputs to each layer, modes {a} and {b} give their scans different values of {named}; the "
        "largest difference is {largest} of the tensor's RMS. The modes differ before the scan."
    ): (
        "各层输入相同时，模式 {a} 与 {b} 交给扫描的 {named} 数值不同；最大差异为该张量 RMS 的 {largest}。两种模式在"
        "扫描之前就已不同。"
    ),
    "{run}: at most {part} of a tensor's values differ": "{run}：一个张量中最多有 {part} 的数值不同",
    "Scan inputs of mode {b} that differ from mode {a}": "模式 {b} 的扫描输入中与模式 {a} 不同的部分",
    "{tensor} at layer {layer}, free run": "第 {layer} 层的 {tensor}，自由运行",
    "{name} ({count} layer)": "{name}（{count} 层）",
    "{name} ({count} layers)": "{name}（{count} 层）",
    "{flips} codes flip in free run, most of them at {most}; {tie} are ties, {upstream} came in from upstream.": (
        "自由运行时有 {flips} 个码值翻转，其中最多的在 {most}；{tie} 个处在舍入边界上，{upstream} 个来自上游。"
    ),
    "They are the same in free run too.": "自由运行时也相同。",
    "at most {error} of RMS(y) (layer {layer}), in {part} of the values": (
        "最大为 RMS(y) 的 {error}（第 {layer} 层），涉及 {part} 的数值"
    ),
    "the difference grows to {error}": "差异增大到 {error}",
    "In free run {grown}.": "自由运行时，{grown}。",
    "With equal inputs, y differs by more than rounding: {size}; {who}.": (
        "输入相同时，y 的差异超过舍入：{size}；{who}。"
    ),
    (
        "mode {mode} is closer to FP64 at {count} of {total} layers, as chance would have it (sign test p = {p}; "
        "{a} misses the nearest float16 in {missed_a} of the values, {b} in {missed_b})"
    ): (
        "{total} 层中模式 {mode} 有 {count} 层更接近 FP64，属于偶然（符号检验 p = {p}；{a} 有 {missed_a} 的数值不是"
        "最近的 float16，{b} 有 {missed_b}）"
    ),
    (
        "{times} times the floor (95 % interval {low} to {high}, from {units} tokens of {count} item, which are "
        "not independent)"
    ): "误差下限的 {times} 倍（95 % 区间 {low} 到 {high}，依据 {count} 个样本的 {units} 个词元，它们并不独立）",
    (
        "{times} times the floor (95 % interval {low} to {high}, from {units} tokens of {count} items, which are "
        "not independent)"
    ): "误差下限的 {times} 倍（95 % 区间 {low} 到 {high}，依据 {count} 个样本的 {units} 个词元，它们并不独立）",
    "largest, {items} items of mode {mode}": "最大值，模式 {mode} 的 {items} 个样本",
    "Modes {a} and {b} return y of different shapes: {note}.": "模式 {a} 与 {b} 返回的 y 形状不同：{note}。",
    "With equal inputs, modes {a} and {b} return the same y bit for bit at every layer.": (
        "输入相同时，模式 {a} 与 {b} 在每一层返回的 y 都逐位一致。"
    ),
    "y could not be compared at layer {layer}: {note}.": "第 {layer} 层的 y 无法比较：{note}。",
    "The scans' inputs differ already, so y does: {size}; {who}.": (
        "扫描的输入已经不同，因此 y 也不同：{size}；{who}。"
    ),
    "With equal inputs, y differs by rounding only: {size}; {who}.": "输入相同时，y 的差异只是舍入：{size}；{who}。",
    "neither is closer to FP64 ({a} misses the nearest float16 in {missed_a} of the values, {b} in {missed_b})": (
        "两者都不比对方更接近 FP64（{a} 有 {missed_a} 的数值不是最近的 float16，{b} 有 {missed_b}）"
    ),
    (
        "mode {mode} is closer to FP64, at {count} of {total} layers (sign test p = {p}; {a} misses the nearest "
        "float16 in {missed_a} of the values, {b} in {missed_b})"
    ): (
        "模式 {mode} 更接近 FP64，{total} 层中有 {count} 层如此（符号检验 p = {p}；{a} 有 {missed_a} 的数值不是最近"
        "的 float16，{b} 有 {missed_b}）"
    ),
    "{times} times the floor (95 % interval {low} to {high}, from {units} items)": (
        "误差下限的 {times} 倍（95 % 区间 {low} 到 {high}，依据 {units} 个样本）"
    ),
    "No layer or no item was chosen, so no scan output was compared.": "没有选择层或样本，因此没有比较扫描的输出。",
    "So they do in free run.": "自由运行时也是如此。",
    "In free run they part.": "自由运行时两者分开。",
    "{mode} from FP64": "{mode} 与 FP64 之差",
    "Scan output y of modes {a} and {b}, {kind}": "模式 {a} 与 {b} 的扫描输出 y，{kind}",
    "Scan output y, lockstep: who is closer to FP64": "扫描输出 y，锁步：谁更接近 FP64",
    "share of y that is not the nearest float16": "y 中不是最近 float16 的比例",
    "Values before the cast after the Hadamard": "Hadamard 之后、类型转换之前的数值",
    "distance from zero, in codes": "离零的距离（以码值计）",
    "Where y differs ({kind}), mode {b} from {a}": "y 在哪里不同（{kind}），模式 {b} 对 {a}",
    "y of mode {b} from {a} by channel, layer {layer}, {kind}": (
        "模式 {b} 与 {a} 的 y 之差，按通道，第 {layer} 层，{kind}"
    ),
    (
        "{a} of the values of y of mode {mode_a} and {b} of mode {mode_b} are not the float16 nearest to FP64, on "
        "the same inputs."
    ): "输入相同时，模式 {mode_a} 有 {a}、模式 {mode_b} 有 {b} 的 y 值不是离 FP64 最近的 float16。",
    "{equal} of {total} values of y are bit-equal in lockstep; {one} are one ULP apart.": (
        "锁步时 {total} 个 y 值中有 {equal} 个逐位一致；{one} 个相差一个 ULP。"
    ),
    "Where along layers and tokens y differs in free run; white: bit-equal.": (
        "自由运行时 y 在哪些层、哪些词元上不同；白色：逐位一致。"
    ),
    "How the difference in lockstep spreads over the channels of layer {last}.": (
        "锁步时差异在第 {last} 层各通道上的分布。"
    ),
    "y of both modes at layer {layer} in lockstep, unequal values marked.": (
        "锁步时第 {layer} 层两种模式的 y，不相等的值有标记。"
    ),
    "y at layer {layer}, {kind}": "第 {layer} 层的 y，{kind}",
    "y at layer {layer}, {kind}, token {token}": "第 {layer} 层的 y，{kind}，词元 {token}",
    (
        "In {kind}, y of mode {b} differs from mode {a} by at most {largest} of its RMS; legal reorderings reach {top}."
    ): "{kind}时，模式 {b} 的 y 与模式 {a} 最多相差其 RMS 的 {largest}；合法重排达到 {top}。",
    "Difference of y in lockstep, all layers, mode {b} from {a}": "锁步时 y 的差异，所有层，模式 {b} 对 {a}",
    "It took longer than the {seconds} seconds it may take.": "运行时间超过了允许的 {seconds} 秒。",
    "The run ended.": "运行已结束。",
    "It ended with exit code {code} and no word; see logs/{name}.log.": (
        "它以退出码 {code} 结束，没有留下说明；请看 logs/{name}.log。"
    ),
    "Somebody stopped the run.": "有人停止了运行。",
    "Signal {number} ended it.": "它被信号 {number} 终止。",
    "Somebody stopped the run before this notebook began.": "在这个笔记本开始之前，有人停止了运行。",
}
