"""Chinese of every sentence that the code composes, by its English template; fields keep their names."""

from __future__ import annotations

__all__ = ["SENTENCES"]

SENTENCES: dict[str, str] = {
    "{folder} is not a folder: give 'demo' or the folder of a quantized model": (
        "{folder} 不是文件夹：请给出 'demo' 或量化模型的文件夹"
    ),
    "{folder} holds a model that is not quantized: quantize it first, with quamba_lab.prepare.prepare_folder": (
        "{folder} 中的模型没有量化：请先用 quamba_lab.prepare.prepare_folder 量化"
    ),
    "a bound was left where no rule looks": "超出界限之处没有对应的判断规则",
    "{equal} of the values of y equal those of {other}, bit for bit": "y 的数值有 {equal} 与 {other} 逐位一致",
    "{explained} of {failing} failing probes exercise {operation}": (
        "{failing} 个失败的探针中有 {explained} 个涉及 {operation}"
    ),
    "{answered} probes, {values} values of y, none outside its bound; {off} not the correctly rounded ones": (
        "{answered} 个探针，{values} 个 y 值，全部在界限之内；其中 {off} 个不是正确舍入的值"
    ),
    "the returned state leaves its bound": "返回的状态超出界限",
    "y = {observed} where {expected} is due": "y = {observed}，应为 {expected}",
    "examined with {length} tokens and {states} states, since all ones fail with one": (
        "改用 {length} 个词元、{states} 个状态检查，因为各为 1 时全部为 1 的输入就已失败"
    ),
    "{declined} probes were declined: the scan does not offer what they ask for": (
        "{declined} 个探针被拒绝：该扫描不提供它们所要求的功能"
    ),
    "has a {verdict} too, at {operation}": "同样有{verdict}，位于 {operation}",
    "both leave the bounds in the same way: {operation}": "两者以同样的方式超出界限：{operation}",
    "{other} is inside the bounds too": "{other} 也在界限之内",
    "{scan} is inside the bounds; {other} is not": "{scan} 在界限之内；{other} 不在",
    "{scan}: {verdict}: {reason}.": "{scan}：{verdict}：{reason}。",
    "{scan}: fault in {operation}: {reason}.": "{scan}：错误在 {operation}：{reason}。",
    "{scan}: fault in {operation} (else {other}): {reason}.": (
        "{scan}：错误在 {operation}（其次为 {other}）：{reason}。"
    ),
    "{scan}: {verdict}{operation}: probes outside their bound": "{scan}：{verdict}{operation}：超出界限的探针",
    "dt·B·u of about 2^{low} to 2^{high} comes out wrong, a state of that size does not": (
        "约 2^{low} 到 2^{high} 的 dt·B·u 结果错误，同样大小的状态则正确"
    ),
    "{name} is read wrongly for the codes {listed}, whatever the scale": (
        "无论 scale 如何，{name} 的码值 {listed} 都被读错"
    ),
    "with several groups, {name} has its scale in some of them only": "有多个组时，只有部分组的 {name} 乘了 scale",
    "the state before the first token is not 0": "第一个词元之前的状态不为 0",
    "states of about 2^{low} to 2^{high} come out wrong, however they arise": (
        "约 2^{low} 到 2^{high} 的状态无论如何产生，结果都错误"
    ),
    "y is what {name} one token {where} would give": "y 相当于 {name} 取{where}一个词元时的结果",
    "{name} is wrong for x between {low} and {high}": "x 在 {low} 与 {high} 之间时 {name} 错误",
    "a state that nothing should change does not stay": "本不应改变的状态没有保持不变",
    "a sum over tokens is wrong while a state alone is held": "单独保持状态正确，但跨词元的求和错误",
    "running sums go wrong at lengths {lost}, at no fixed token": "累加在长度 {lost} 时出错，出错的词元不固定",
    "one token alone does not come out at its own place": "单独一个词元没有出现在它自己的位置",
    "where dt is 0 the state is multiplied by {factor}": "dt 为 0 时状态被乘以 {factor}",
    "y is what B and C exchanged would give": "y 相当于 B 和 C 互换的结果",
    "A is right for A_log = 0 and wrong for {scale} x {code}": "A_log = 0 时 A 正确，{scale} x {code} 时错误",
    "A lacks its minus: decays grow": "A 缺少负号：衰减变成增长",
    "exp(dt·A) is wrong, and not by a wrong A": "exp(dt·A) 错误，而且不是 A 的错误造成的",
    "exp(−x) is wrong for x between {low} and {high}": "x 在 {low} 与 {high} 之间时 exp(−x) 错误",
    "exp(dt·A) is right with softplus off; with it on, the drive gets softplus(dt) and the decay does not": (
        "关闭 softplus 时 exp(dt·A) 正确；打开时，驱动项用了 softplus(dt)，衰减却没有"
    ),
    "a sum over tokens is wrong": "跨词元的求和错误",
    "at token {at}, whatever the length, the state does not decay": "无论长度如何，状态在第 {at} 个词元处都不衰减",
    "from token {at} on y goes wrong, with the memory off too": "从第 {at} 个词元起 y 出错，关闭记忆时也一样",
    "y goes wrong at token {at}, whatever the length": "无论长度如何，y 都在第 {at} 个词元处出错",
    "with the memory off, lengths {lost} … have wrong tokens": "关闭记忆时，长度 {lost} …… 有错误的词元",
    "decaying states go wrong from token {t} on, running sums do not": (
        "从第 {t} 个词元起，衰减的状态出错，累加则不出错"
    ),
    "A is A_log itself: exp is missing": "A 就是 A_log 本身：缺少 exp",
    "A is 0 for A_log = 0": "A_log = 0 时 A 为 0",
    "the last bits of {part} are wrong between {low} and {high}": "在 {low} 与 {high} 之间，{part} 的最后几位错误",
    "y is wrong with all operands 1": "所有操作数为 1 时 y 错误",
    "D·u comes out wrong for every D": "任何 D 下 D·u 都错误",
    "a format with fewer bits than float32: integers of 12 bits and more are lost in {place}": (
        "用了位数少于 float32 的格式：12 位及以上的整数在{place}中丢失"
    ),
    "exact values are rounded wrongly to float16 ({kinds})": "精确值舍入到 float16 时出错（{kinds}）",
    "products lose bits whichever operand has them": "无论哪个操作数带有这些位，乘积都会丢失",
    "the bias of dt comes out wrong": "dt 的偏置错误",
    "bias = {scale} x {code} is not worth {value}": "偏置 = {scale} x {code} 的数值不是 {value}",
    "softplus is wrong between {low} and {high}": "softplus 在 {low} 与 {high} 之间错误",
    " and {twice}'s scale twice": "，而 {twice} 的 scale 乘了两次",
    "y does not depend on the scale of {name}{also}": "y 与 {name} 的 scale 无关{also}",
    " and on {doubled} twice": "，而 {doubled} 用了两次",
    "y does not depend on {name}{instead}": "y 与 {name} 无关{instead}",
    "the scale of {twice} is applied twice": "{twice} 的 scale 乘了两次",
    "{doubled} is used twice": "{doubled} 用了两次",
    "{split} = {scale} x {code} is not worth {value}": "{split} = {scale} x {code} 的数值不是 {value}",
    "some values of {bad} come out wrong": "{bad} 的部分数值错误",
    "large or small dt·B·u come out wrong, a state of that size does not": (
        "很大或很小的 dt·B·u 结果错误，同样大小的状态则正确"
    ),
    "large or small states come out wrong, whichever operand makes them so": (
        "很大或很小的状态结果错误，与由哪个操作数造成无关"
    ),
    "the answer is wrong wherever it takes certain values": "结果取某些数值时就错误",
    "products of {bad} come out wrong": "{bad} 的乘积错误",
    "dt passes through softplus although softplus is off": "softplus 已关闭，dt 却仍经过 softplus",
    "the state is right and y is not, with all operands 1": "所有操作数为 1 时，状态正确而 y 错误",
    "y is wrong with all operands 1, and right with C = 0": "所有操作数为 1 时 y 错误，C = 0 时正确",
    "D·u is right alone and wrong beside Σ C·h": "D·u 单独时正确，与 Σ C·h 相加时错误",
    "y does not depend on the scale of D": "y 与 D 的 scale 无关",
    "the scale of D is applied twice": "D 的 scale 乘了两次",
    "D = {scale} x {code} is not worth {value}": "D = {scale} x {code} 的数值不是 {value}",
    "{worst} loses bits when its scale has 24 of them": "{worst} 的 scale 有 24 位时会丢失有效位",
    "z loses bits when its scale has 24 of them": "z 的 scale 有 24 位时会丢失有效位",
    "z = {scale} x {code} is not worth {value}": "z = {scale} x {code} 的数值不是 {value}",
    "the gate gives NaN for legal z": "对合法的 z，门控给出 NaN",
    "the value of dt changes when a bias is there": "存在偏置时 dt 的数值改变",
    "softplus is right without a bias and wrong with one: the bias is not added before it": (
        "没有偏置时 softplus 正确，有偏置时错误：偏置没有在它之前相加"
    ),
    "the decay gets softplus(dt) and the drive gets dt itself": "衰减用了 softplus(dt)，驱动项却直接用 dt",
    "dt does not pass through softplus": "dt 没有经过 softplus",
    "codes of {alive} are not worth scale x code": "{alive} 的码值的数值不等于 scale x 码值",
    "the state": "状态",
    "D·u passes the gate by": "D·u 绕过了门控",
    "D·u is gated wrongly and Σ C·h rightly": "D·u 的门控错误，Σ C·h 的正确",
    "y is right and the state is not when {name} is not 1": "{name} 不为 1 时 y 正确而状态错误",
    "y is {name}": "y 被{name}",
    "a single token fails and the first of many does not": "单独一个词元出错，多个词元中的第一个却不出错",
    " (lost: {states})": "（丢失：{states}）",
    "Σ over the states is wrong{tail}": "对状态的求和 Σ 错误{tail}",
    "values arrive at another item, group, channel or token ({names})": "数值到了别的样本、组、通道或词元（{names}）",
    "{name} fails and every part of it passes": "{name} 失败，而它的每个部分都通过",
    "the same call gave two answers ({name})": "同样的调用给出了两种结果（{name}）",
    "states with rates of their own decay wrongly": "各有自己速率的状态衰减错误",
    "some states are wrong when there are several": "有多个状态时，部分状态错误",
    "equal batch items give another y than one alone": "批中相同的样本与单独一个样本的 y 不同",
    "the same item, channel or token, several times over, comes out unequal": (
        "相同的样本、通道或词元重复多次，结果却不相等"
    ),
    "y of one batch item depends on the others": "批中一个样本的 y 受其他样本影响",
    "y changes when the state is asked for as INT8": "要求以 INT8 返回状态时 y 改变",
    "ties of the returned state are not rounded away from zero": "返回的状态在中点处没有向远离零的方向舍入",
    "the returned state has wrong codes": "返回的状态码值错误",
    "y is right and the returned state is not": "y 正确而返回的状态错误",
    "the returned state leaves its bound ({name})": "返回的状态超出界限（{name}）",
    "{name}: passes without {part}": "{name}：去掉 {part} 即通过",
    "returned {name}: expected a ScanOutput or a float16 tensor": "返回了 {name}：应为 ScanOutput 或 float16 张量",
    "y has shape {shape}: expected (b, l, d) = {expected}": "y 的形状为 {shape}：应为 (b, l, d) = {expected}",
    "y is {dtype}: expected torch.float16": "y 的类型为 {dtype}：应为 torch.float16",
    "raised {name}: {message}": "抛出 {name}：{message}",
    "the call changed its input state_scale": "调用改变了它的输入 state_scale",
    "last_state is {got}: expected a tensor of shape (b, d, n) = {shape}": (
        "last_state 为 {got}：应为形状 (b, d, n) = {shape} 的张量"
    ),
    "the call took longer than {time_limit} s and was abandoned": "调用超过 {time_limit} 秒，已放弃",
    "the call changed its input {name}": "调用改变了它的输入 {name}",
    "One row for each scan, one column for each rung of the ladder.": "每个扫描一行，每一级探针一列。",
    "All {count} scans stay inside the bounds of honest float32 arithmetic: {scans}": (
        "{count} 个扫描都没有超出诚实的 float32 算术的界限：{scans}"
    ),
    "{verdict}. Of {planted} planted faults, {right} are named rightly.": (
        "{verdict}。植入的 {planted} 个错误中，正确指出了 {right} 个。"
    ),
    "{name}: {verdict} in {operation}": "{name}：{verdict}，位于 {operation}",
    "{name}: {verdict}": "{name}：{verdict}",
    "The kernel died, perhaps for want of memory.": "内核进程意外终止，可能是内存不足。",
    "A cell took longer than it may.": "某个单元格的运行时间超过了限制。",
    "It was told to stop.": "收到了停止的指令。",
    "{path} holds a {kind}: expected one JSON object; write it again": (
        "{path} 中是 {kind}：应为一个 JSON 对象，请重新写出"
    ),
    "{folder} is not a folder: give a model's folder with config.json, or 'demo'": (
        "{folder} 不是文件夹：请给出含有 config.json 的模型文件夹，或 'demo'"
    ),
    "{path} does not exist: give a model's folder with config.json and its weights, or 'demo'": (
        "{path} 不存在：请给出含有 config.json 和权重的模型文件夹，或 'demo'"
    ),
    "{path} is not valid JSON ({error}): download or write it again": (
        "{path} 不是有效的 JSON（{error}）：请重新下载或重新写出"
    ),
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
    "{hits_a} of {n} against {hits_b} of {n}": "{n} 个中 {hits_a} 个对 {n} 个中 {hits_b} 个",
    "{counts} is no difference in accuracy; only the items' own answers could show one.": (
        "{counts}，正确率没有差异；只有各样本自己的答案才可能显出差异。"
    ),
    "{counts} is a difference whatever items were flipped: exact McNemar p is at most {largest}.": (
        "{counts}，无论翻转的是哪些样本都是差异：McNemar 精确检验的 p 最大为 {largest}。"
    ),
    (
        "{counts} establishes nothing by itself: whatever items were flipped, exact McNemar p lies between "
        "{smallest} and {largest}; to see such a difference with {power} power takes between {few} and {many} "
        "items."
    ): (
        "{counts}，这本身什么也证明不了：无论翻转的是哪些样本，McNemar 精确检验的 p 都在 {smallest} 到 {largest} 之"
        "间；要以 {power} 的检验功效检出这样的差异，需要 {few} 到 {many} 个样本。"
    ),
    (
        "{counts} alone does not decide: exact McNemar p lies between {smallest} and {largest}, depending on which "
        "items were flipped ({possible} of {splits} possible tables reach {alpha})."
    ): (
        "{counts}，仅凭这些还不能判断：McNemar 精确检验的 p 在 {smallest} 到 {largest} 之间，取决于翻转的是哪些样本"
        "（{splits} 张可能的表中有 {possible} 张达到 {alpha}）。"
    ),
    (
        "The largest gain is {gain} ({kind} at {site}, layer {layer}, {hits} hits per item); hit most often is the "
        "{often} at {often_site}, layer {often_layer} ({often_hits} per item, gain {often_gain}). One ULP in one "
        "layer changes the answer of {changed} of {items} items."
    ): (
        "最大增益为 {gain}（{kind}，位于 {site}，第 {layer} 层，每个样本命中 {hits} 次）；命中最多的是 "
        "{often_site} 的{often}，第 {often_layer} 层（每个样本 {often_hits} 次，增益 {often_gain}）。某一层的一个 "
        "ULP 会改变 {items} 个样本中 {changed} 个的答案。"
    ),
    "One ULP of y changed no code of any rounding site in {items} items: nothing amplifies here.": (
        "在 {items} 个样本中，y 的一个 ULP 没有改变任何舍入点的任何码值：这里没有放大。"
    ),
    "No layer or no item was chosen, so nothing was perturbed.": "没有选择层或样本，因此没有施加扰动。",
    "{n} to {kind}": "{kind} {n} 个",
    "Changed answers attributed: {parts}.": "答案改变的归因：{parts}。",
    (
        "Modes {a} and {b} answer {flips} of {count} items differently; of {traced} traced, {single} turn back "
        "when one stage of one layer is taken from mode {a}."
    ): (
        "模式 {a} 与 {b} 在 {count} 个样本中有 {flips} 个答案不同；追溯了 {traced} 个，其中 {single} 个只要把某一层"
        "的某个阶段换成模式 {a} 的数值，答案就变回来。"
    ),
    "none alone": "没有单独一处",
    "{stage}, layer {layer}": "{stage}，第 {layer} 层",
    "{count} more flips in a batch but not alone.": "另有 {count} 个只在成批运行时翻转，单独运行时不翻转。",
    "{count} more flip in a batch but not alone.": "另有 {count} 个只在成批运行时翻转，单独运行时不翻转。",
    (
        "The earliest is {early} (item {early_item}); the smallest, {least}, needs {needed} of its {differing} "
        "differing elements (item {least_item})."
    ): (
        "最早的一处是 {early}（样本 {early_item}）；最小的一处是 {least}，只需要其 {differing} 个不同元素中的 "
        "{needed} 个（样本 {least_item}）。"
    ),
    "every traced item": "所有追溯的样本",
    "item {item}": "样本 {item}",
    "No item of {count} is answered differently by modes {a} and {b}: nothing to trace.": (
        "{count} 个样本中，模式 {a} 与 {b} 的答案都相同：没有可追溯的。"
    ),
    "Patches that turn the answer back ({what})": "能使答案变回来的替换（{what}）",
    "the state before the first token is not zero": "第一个词元之前的状态不为零",
    "the state before was counted twice": "前一状态被计算了两次",
    "the state was rounded to INT8 codes of its scale": "状态被按其 scale 舍入成了 INT8 码值",
    (
        "The switches' setting that equals {scan} is not known: give variants=(Variant(...), Variant(...)), or let "
        "a diagnosis name its operation."
    ): "不知道与 {scan} 等价的开关设置：请给出 variants=(Variant(...), Variant(...))，或者用诊断来指出它的运算。",
    "No item or no layer was chosen, so nothing was taken apart.": "没有选择样本或层，因此没有作分解。",
    (
        "{a} and {b} are one setting of every switch and receive the same inputs: there is no difference to take apart."
    ): "{a} 与 {b} 的所有开关设置相同，收到的输入也相同：没有可分解的差异。",
    (
        "Of the squared difference at y, {operation} ({switch}) makes the largest part, {part}; by cause: {parts}."
    ): "{switch}（{operation}）造成了 y 处差异的最大部分，占其平方的 {part}；按原因：{parts}。",
    "The largest share of the difference at y has {switch}: {share}.": "y 处差异中份额最大的是 {switch}：{share}。",
    "{what}; its share is 0.": "{what}；其份额为 0。",
    "{switches} together make {part} of the squared difference at y": "{switches} 合计造成 y 处差异平方的 {part}",
    "{part} at the {where}": "在{where}处为 {part}",
    ".": "。",
    "The whole is error/RMS {rms}, within what honest float32 scans differ by.": (
        "差异总量的误差/RMS 为 {rms}，没有超出诚实的 float32 扫描之间的差异。"
    ),
    "The whole is error/RMS {rms}, beyond what honest float32 scans differ by.": (
        "差异总量的误差/RMS 为 {rms}，超出了诚实的 float32 扫描之间的差异。"
    ),
    (
        "At the logits each cause alone already makes {low} to {high} of the whole: the model amplifies any "
        "rounding, so shares there say little about a cause."
    ): ("在 logits 处，每个原因单独就已造成总量的 {low} 到 {high}：模型会放大任何舍入，因此那里的份额说明不了原因。"),
    (
        "On this device the switches' settings do not give the scans' own bits, so the shares are those of the "
        "settings."
    ): "在本设备上，开关的设置不能给出与扫描逐位一致的结果，因此这些份额属于设置本身。",
    "The two scans do not differ here": "两个扫描在这一点上没有不同",
    "{text} (95 % of resamplings of {count} items: {low} to {high})": (
        "{text}（对 {count} 个样本重抽样的 95 % 区间：{low} 到 {high}）"
    ),
    "The two scans give the same bits of y on these items, so there is nothing to share out.": (
        "两个扫描在这些样本上的 y 逐位一致，因此没有份额可分。"
    ),
    "cause {cause} ({title}) {part}": "原因 {cause}（{title}）{part}",
    "What two switches do together beyond each alone.": "两个开关一起作用时，超出各自单独作用之和的部分。",
    (
        "Neither scan quantizes its state inside a prompt, or both do it alike: the state is rounded to INT8 only "
        "when it is returned"
    ): "处理提示时两个扫描都不量化状态，或者做法相同：状态只在返回时才舍入为 INT8",
    "Both scans receive the same inputs": "两个扫描收到的输入相同",
    "share at {where}": "在{where}处的份额",
    (
        "Codes out of 256 with the value code × scale, for each scan and operand, the least over the layers: {found}."
    ): "每个扫描、每个操作数的 256 个码值中，数值等于 码值 × scale 的个数（取各层最小值）：{found}。",
    "{scans} cannot run here and was not audited.": "{scans} 无法在这里运行，未作检查。",
    "layer {layer}": "第 {layer} 层",
    "no layer was chosen": "没有选择任何层",
    "the scans showed nothing to the probes": "探针没有从扫描中观察到任何结果",
    "No dequantization could be audited: {why}.": "无法检查反量化：{why}。",
    (
        "A difference in dequantization: {scan} gives {count} of the 256 codes of {operand} a value other than "
        "code × scale (layer {layer}; {conversion} fits)."
    ): (
        "反量化存在差异：{scan} 对 {operand} 的 256 个码值中的 {count} 个给出的数值不等于 码值 × scale（第 {layer} "
        "层；符合“{conversion}”）。"
    ),
    (
        "Dequantization is not the cause: {scans} give all 256 codes of every operand the value code × scale "
        "({audits} audits, {codes} codes); {order}"
    ): (
        "反量化不是原因：{scans} 对每个操作数的全部 256 个码值给出的数值都等于 码值 × scale（{audits} 次检查，"
        "{codes} 个码值）；{order}"
    ),
    "What each difference would do to y, layer {layer}": "每种差异会怎样改变 y，第 {layer} 层",
    "not visible: no float32 state": "看不到：没有 float32 状态",
    "none exactly; nearest {best}": "没有完全一致的；最接近 {best}",
    "not seen: {name}: {error}": "未观察到：{name}: {error}",
    "Codes out of 256 whose value is code × scale ({where})": "256 个码值中数值等于 码值 × scale 的个数（{where}）",
    "{clip}, if it occurred": "{clip}（假如出现）",
    "What it would do to y, layer {layer}": "对 y 的影响，第 {layer} 层",
    "RMS of the change / RMS of y (dashed: float16 alone)": "变化的 RMS / y 的 RMS（虚线：仅 float16 转换）",
    "float32 in this mode: there is no code to give a value to": "该模式中为 float32：没有需要取值的码值",
    "{wrong} of {total} audits find fewer": "{total} 次检查中有 {wrong} 次不足 256",
    "all 256 everywhere": "全部为 256",
    (
        "What each alternative dequantization would do to y at layer {layer}; the largest, {alternative}, would "
        "change {part} % of the values, error/RMS {error}. {none} of {total} alternatives change no bit."
    ): (
        "各种反量化替代做法对第 {layer} 层 y 的影响；影响最大的是“{alternative}”，会改变 {part} % 的数值，误差/RMS "
        "为 {error}。{total} 种替代做法中有 {none} 种不改变任何一位。"
    ),
    "This layer's alternatives were not computed.": "没有计算这一层的替代做法。",
    "they also multiply the scales in the same order.": "它们乘 scale 的次序也相同。",
    "what differs is the order of the products that follow, which rounds differently.": (
        "不同的是随后各乘积的次序，因而舍入不同。"
    ),
    "code {code}": "码值 {code}",
    "The error budget of the state closes at the one layer looked at, to {missed} of what entered: {sentences}.": (
        "在查看的这一层，状态的误差预算闭合，剩余为输入量的 {missed}：{sentences}。"
    ),
    (
        "The error budget of the state closes at all {count} layers looked at, to {missed} of what entered: "
        "{sentences}."
    ): "在查看的全部 {count} 层，状态的误差预算都闭合，剩余为输入量的 {missed}：{sentences}。",
    (
        "Mode {mode}, layer {layer}, channel {number}, state {state}: the error of the state along the tokens, "
        "divided by where it was made; at the last token it is {error}, and the largest part of it was made by "
        "{part}."
    ): (
        "模式 {mode}，第 {layer} 层，通道 {number}，状态 {state}：状态的误差沿词元的变化，按产生的位置划分；在最后"
        "一个词元处为 {error}，其中最大的部分由{part}造成。"
    ),
    "token {token}, channel {channel}, state {state}, item {item}": (
        "词元 {token}，通道 {channel}，状态 {state}，样本 {item}"
    ),
    "{what} by more than float32 can in {who}, first at {where}": (
        "{who}中，{what}，超出 float32 所能产生的误差，最先在{where}"
    ),
    "mode {mode} ({scan}) at layer {layer}": "第 {layer} 层的模式 {mode}（{scan}）",
    "The budget of mode {mode} is not shown: {reason}.": "模式 {mode} 的误差预算未显示：{reason}。",
    "No layer was chosen.": "没有选择任何层。",
    "{fault} (and {count} more)": "{fault}（另有 {count} 处）",
    "The error budget of the state closes, and {fault}.": "状态的误差预算闭合；{fault}。",
    "The error budget of the state does not close, and {fault}.": "状态的误差预算不闭合；{fault}。",
    "mode {mode} ({scan}) errs by {error} of RMS(h) at most, of it {divided}": (
        "模式 {mode}（{scan}）的误差最大为 RMS(h) 的 {error}，其中{divided}"
    ),
    "of the difference between the two, {divided}": "两者之差中，{divided}",
    "Where the error of a state was made: mode {mode}, layer {layer}, channel {number}, state {state}": (
        "状态误差产生的位置：模式 {mode}，第 {layer} 层，通道 {number}，状态 {state}"
    ),
    "Error of every state: mode {mode}, layer {layer}, channel {number}": (
        "每个状态的误差：模式 {mode}，第 {layer} 层，通道 {number}"
    ),
    (
        "Mode {mode}, layer {layer}, channel {number}: the error of each state at each token; state {worst} holds "
        "the largest."
    ): "模式 {mode}，第 {layer} 层，通道 {number}：每个状态在每个词元处的误差；最大的在状态 {worst}。",
    "Half of all states lose half of an error within {half} tokens; the longest memory needs {longest}.": (
        "一半的状态在 {half} 个词元内使误差减半；记忆最长的状态需要 {longest} 个。"
    ),
    "token {token}, channel {channel}, state {state}": "词元 {token}，通道 {channel}，状态 {state}",
    "{text}: {hint}": "{text}：{hint}",
    "the parts miss the error by {miss} of what entered in {who}": "{who}中，各部分之和与误差相差输入量的 {miss}",
    "mode {mode} ({scan}) has no error": "模式 {mode}（{scan}）没有误差",
    "{part} {name}": "{name} {part}",
    "the decay errs": "衰减有误差",
    "the drive errs": "驱动项有误差",
    "the update of the state errs": "状态的更新有误差",
    "No error budget could be made.": "无法作出误差预算。",
    "Modes {a} and {b}.": "模式 {a} 与 {b}。",
    "Mode {mode}, of the pair {a} and {b}.": "模式 {mode}（对比的两种模式为 {a} 与 {b}）。",
    "Channel {number}, state {state}. The parts sum to the observed error.": (
        "通道 {number}，状态 {state}。各部分之和等于观察到的误差。"
    ),
    "made by {part}": "由{part}造成",
    "{low} to {high}": "{low} 到 {high}",
    "rounding": "舍入",
    "{a} → {b}": "{a} → {b}",
    "the decay": "衰减",
    "the drive": "驱动项",
    "rounding of the update": "更新时的舍入",
    "an update that no rounding explains": "舍入无法解释的更新",
    "none when items run one at a time": "逐个样本运行时没有",
    "{stage} of layer {layer} (item {item})": "第 {layer} 层的 {stage}（样本 {item}）",
    "{stage} (item {item})": "{stage}（样本 {item}）",
    "So do the other scans registered here: {scans}.": "这里注册的其他扫描也是如此：{scans}。",
    "Code -128 occurs {stake} times in these inputs; a clip at -127 would change up to {changed} of RMS(y).": (
        "码值 -128 在这些输入中出现 {stake} 次；裁剪到 -127 最多会改变 RMS(y) 的 {changed}。"
    ),
    "Of the other scans registered here, {scans} give some code another value.": (
        "这里注册的其他扫描中，{scans} 对某些码值给出别的数值。"
    ),
    (
        "Code -128 does not occur in these inputs, so a clip at -127 would change no bit of y; on an operand's "
        "lowest code it would change up to {forced} of RMS(y)."
    ): (
        "码值 -128 在这些输入中没有出现，裁剪到 -127 不会改变 y 的任何一位；若发生在某个操作数的最低码值上，最多会"
        "改变 RMS(y) 的 {forced}。"
    ),
    "Nothing could be seen of {named}.": "无法观察到 {named}。",
    "The same in both: {conversion}.": "两者相同：{conversion}。",
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
    "Not seen.": "未观察到。",
    "No operand is clipped: code -128 is -128 × scale": "没有操作数被裁剪：码值 -128 就是 -128 × scale",
    "Code -128 is clipped in {operands}": "{operands} 的码值 -128 被裁剪",
    "mode {mode}": "模式 {mode}",
    "{b} from {a}": "{b} 与 {a} 之差",
    (
        "The largest error against FP64 inside the scan, before the cast to float16, is {error} in mode {mode}, "
        "after {operation}; the cast itself makes {cast}."
    ): (
        "在转换为 float16 之前，扫描内部相对 FP64 的最大误差在模式 {mode} 中为 {error}，出现在 {operation} 之后；转"
        "换本身的误差为 {cast}。"
    ),
    "This scan shows no operation.": "这个扫描不显示任何内部运算。",
    "No operation adds more than its bound; {operation} comes nearest, at {part} %.": (
        "没有运算增加的误差超过其界限；最接近的是 {operation}，达到 {part} %。"
    ),
    "recorded on {device}": "{device} 上的记录",
    "this machine": "本机",
    "Error after each operation ({where})": "每个运算之后的误差（{where}）",
    "{operation} adds {times} times its bound.": "{operation} 增加的误差是其界限的 {times} 倍。",
    "No operation could be seen.": "没有观察到任何运算。",
    "Error of the state along the tokens, layer {layer}.": "状态的误差沿词元的变化，第 {layer} 层。",
    "Error after each operation of {scan}, on a GPU and here": "{scan} 的每个运算之后的误差，GPU 上与本机上",
    "Error of {operation} along the tokens ({where})": "{operation} 的误差沿词元的变化（{where}）",
    (
        "The first operation that differs beyond its floor, its inputs being equal, is {operation} of {scan} (mode "
        "{mode}, layer {layer}, at {place}): it adds {added} {unit}, and {floor} between the two scans are legal."
    ): (
        "输入相同时，最先超出误差下限的运算是 {scan} 的 {operation}（模式 {mode}，第 {layer} 层，{place}）：它增加 "
        "{added} {unit}，而两个扫描之间合法的差异为 {floor}。"
    ),
    (
        "On {count} recordings of an {device} no operation leaves its floor; at most {share} of the values of y of "
        "{scan} differ from this machine's build."
    ): "在 {device} 的 {count} 份记录上，没有运算超出误差下限；{scan} 的 y 值最多有 {share} 与本机构建不同。",
    "Note: {reason}.": "注：{reason}。",
    "Every operation of {a} and {b} gives the same bits on equal inputs.": (
        "输入相同时，{a} 与 {b} 的每个运算都逐位一致。"
    ),
    "No operation of the scan errs beyond its rounding on equal inputs.": (
        "输入相同时，扫描的任何运算的误差都没有超出舍入。"
    ),
    (
        "The first operation that differs beyond its floor, its inputs being equal, is {operation} of {scan} (mode "
        "{mode}, layer {layer}): it is off by {added} {unit}, and {floor} between the two scans are legal."
    ): (
        "输入相同时，最先超出误差下限的运算是 {scan} 的 {operation}（模式 {mode}，第 {layer} 层）：偏差为 {added} "
        "{unit}，而两个扫描之间合法的差异为 {floor}。"
    ),
    "On {count} recordings of an {device}, {operation} of {scan} leaves its floor against this machine's build.": (
        "在 {device} 的 {count} 份记录上，{scan} 的 {operation} 与本机构建相比超出误差下限。"
    ),
    "Nothing inside the scans could be seen.": "无法观察到扫描的内部。",
    "The first whose bits differ there is {operation}: {differing} of {compared} values.": (
        "最先出现位不同的是 {operation}：{compared} 个值中有 {differing} 个。"
    ),
    "Only one side could be seen.": "只能观察到一方。",
    (
        "Before the cast to float16 the errors against FP64 reach {error_a} (mode {a}) and {error_b} (mode {b}), "
        "so mode {nearer} is the more exact one."
    ): (
        "转换为 float16 之前，相对 FP64 的误差最大为 {error_a}（模式 {a}）和 {error_b}（模式 {b}），因此模式 "
        "{nearer} 更精确。"
    ),
    "Both err alike against FP64.": "两者相对 FP64 的误差相同。",
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
    "layer {names}": "第 {names} 层",
    "layers {names}": "第 {names} 层",
    (
        "The unclamped cast after the Hadamard wraps {wrapped} of {codes} values around, in {hit} of {items} items "
        "(mode {mode}; {layers}), a fault of the published layer in every mode: with a clamp there instead, these "
        "items' log-probability moves by {rms} nats (RMS); right answers gained: {gained}, lost: {lost}."
    ): (
        "Hadamard 之后未作饱和的类型转换使 {codes} 个值中的 {wrapped} 个回绕，涉及 {items} 个样本中的 {hit} 个（模"
        "式 {mode}；{layers}），这是已发布的层在每种模式下都有的错误：若在那里改为饱和，这些样本的对数概率变化 "
        "{rms} nat（RMS），多答对 {gained} 个，少答对 {lost} 个。"
    ),
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
    "{mode}: clamped for wrapped": "{mode}：以饱和代替回绕",
    "{b} against {a}, {form}, items with a wrap": "{b} 对 {a}，{form}，有回绕的样本",
    "{b} against {a}, items without a wrap": "{b} 对 {a}，没有回绕的样本",
    "No difference of log-probability stands beside the one of accuracy.": "除正确率之外，对数概率没有差异。",
    "No difference between modes {a} and {b} is established: {parts}.": "模式 {a} 与 {b} 之间的差异不成立：{parts}。",
    (
        "of {n} items, {b} gains {gained} that {a} answers wrongly and loses {lost} that it answers rightly (exact "
        "McNemar p = {p}, Holm {holm})"
    ): (
        "在 {n} 个样本中，{a} 答错的有 {gained} 个被 {b} 答对，{a} 答对的有 {lost} 个被 {b} 答错（McNemar 精确检验 "
        "p = {p}，Holm 校正后 {holm}）"
    ),
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
    "item {item}, layer {layer}: {reason}": "样本 {item}，第 {layer} 层：{reason}",
    "In place of {scan} in mode {b} ({miss} of y not the nearest float16) one can run {choices}.": (
        "在模式 {b} 中，{scan}（{miss} 的 y 不是最近的 float16）可换成：{choices}。"
    ),
    "{scan}: {differ} of y unlike mode {a}'s, {miss} not the nearest float16, {times} times the time": (
        "{scan}：{differ} 的 y 与模式 {a} 不同，{miss} 不是最近的 float16，耗时为 {times} 倍"
    ),
    "{scan}: {differ} of y unlike mode {a}'s, {miss} not the nearest float16": (
        "{scan}：{differ} 的 y 与模式 {a} 不同，{miss} 不是最近的 float16"
    ),
    "Times: on a CPU, from the project's benchmarks.": "耗时：CPU 上的结果，来自本项目的基准测试。",
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
    "Values of {tensor} at layer {layer} in the free run; in lockstep {differing} of {elements} differ.": (
        "第 {layer} 层 {tensor} 在自由运行时的数值；锁步时 {elements} 个中有 {differing} 个不同。"
    ),
    "Modes {a} and {b} give their scans tensors of different shapes: {note}.": (
        "模式 {a} 与 {b} 交给扫描的张量形状不同：{note}。"
    ),
    "Values of {tensor} at layer {layer} in the free run.": "第 {layer} 层 {tensor} 在自由运行时的数值。",
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
    "largest, {items} items of mode {mode}": "最大值，模式 {mode} 的 {items} 个样本",
    (
        "In free run y differs at {share} of the pairs of layer and token, most at layer {layer}, token {token}; "
        "white: bit-equal."
    ): "自由运行时，{share} 的“层与词元”组合处 y 不同，最大处在第 {layer} 层、词元 {token}；白色：逐位一致。",
    "In lockstep at layer {layer}, y differs in {count} of {total} channels; here they stand in order.": (
        "锁步时第 {layer} 层的 {total} 个通道中有 {count} 个的 y 不同；图中按大小排列。"
    ),
    "In lockstep at layer {layer}, {count} of {total} values of y are not equal in the two modes (marked).": (
        "锁步时第 {layer} 层的 {total} 个 y 值中有 {count} 个在两种模式中不相等（有标记）。"
    ),
    "127.5: beyond it the code wraps around": "127.5：超出即回绕",
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
    "y at layer {layer}, {kind}": "第 {layer} 层的 y，{kind}",
    "y at layer {layer}, {kind}, token {token}": "第 {layer} 层的 y，{kind}，词元 {token}",
    (
        "In {kind}, y of mode {b} differs from mode {a} by at most {largest} of its RMS; legal reorderings reach {top}."
    ): "{kind}时，模式 {b} 的 y 与模式 {a} 最多相差其 RMS 的 {largest}；合法重排达到 {top}。",
    "Difference of y in lockstep, all layers, mode {b} from {a}": "锁步时 y 的差异，所有层，模式 {b} 对 {a}",
    "Cause 3 of the plan, quantization of the SSM state,": "计划的原因 3（SSM 状态的量化）",
    (
        "{cause} cannot act in a log-likelihood task: {scans} return the same y in every bit with and without a "
        "state scale at {layers} layers"
    ): "{cause}在对数似然任务中不起作用：在 {layers} 层上，{scans} 无论有没有状态 scale，返回的 y 都逐位一致",
    (
        "; in generation it acts: with the state rounded at every token (calibrated scale, ties to even) y errs by "
        "{rounded} of its RMS, against {never} from float32 arithmetic"
    ): (
        "；在生成时则起作用：每个词元都舍入状态时（标定的 scale，中点向偶数），y 的误差为其 RMS 的 {rounded}，而 "
        "float32 算术只有 {never}"
    ),
    (
        ", the logits move by {moved} of their RMS, against {floor} from rounding alone, and the best next token "
        "changes at {changed} of {tokens} positions (mode {mode})"
    ): (
        "，logits 变化为其 RMS 的 {moved}（单纯舍入为 {floor}），{tokens} 个位置中 {changed} 的最佳下一词元改变"
        "（模式 {mode}）"
    ),
    "{cause} could not be examined: no scan of the pair runs on these inputs.": (
        "{cause}无法检验：这一对模式的扫描都不能在这些输入上运行。"
    ),
    (
        "{cause} can act in a log-likelihood task: {scan} changes {changed} of {total} values of a prompt's y at "
        "layer {layer} when it is given a state scale."
    ): (
        "{cause}在对数似然任务中可能起作用：给出状态 scale 时，{scan} 在第 {layer} 层改变了提示的 {total} 个 y 值中"
        "的 {changed} 个。"
    ),
    ", and rounding the state that a prompt returns changes no bit of the logits of {tokens} tokens": (
        "，对提示返回的状态作舍入也不改变 {tokens} 个词元的 logits 的任何一位"
    ),
    (
        "Layer {layer}, {phase}: at the last token y errs by {never} of its RMS when the state is never rounded, "
        "and by {error} when it is rounded {policy}."
    ): (
        "第 {layer} 层，{phase}：在最后一个词元处，状态从不舍入时 y 的误差为其 RMS 的 {never}，按“{policy}”舍入时为"
        " {error}。"
    ),
    "Error of y when the state is rounded: {phase}, layer {layer}, ties {rule}, {scale} scale": (
        "状态舍入时 y 的误差：{phase}，第 {layer} 层，中点{rule}，{scale} scale"
    ),
    "Error of y when the state is cut toward zero: {phase}, layer {layer}, {scale} scale": (
        "状态向零截断时 y 的误差：{phase}，第 {layer} 层，{scale} scale"
    ),
    (
        "The logits change most under rounding {policy} in {phase}: by {rms} of their RMS; rounding only the state "
        "that a prompt returns {effect}."
    ): "按“{policy}”舍入（{phase}）时 logits 变化最大：为其 RMS 的 {rms}；只对提示返回的状态作舍入则{effect}。",
    "changes no bit of them": "不改变它们的任何一位",
    "changes them": "会改变它们",
    (
        "No difference in the answers of modes {a} and {b} is established: of {count} items {b} gains {gained} and "
        "loses {lost} (exact McNemar p = {p})."
    ): (
        "模式 {a} 与 {b} 的答案之间的差异不成立：在 {count} 个样本中，{b} 多答对 {gained} 个、少答对 {lost} 个（"
        "McNemar 精确检验 p = {p}）。"
    ),
    (
        "Closer to FP64 is mode {nearer}: its scan errs by at most {small} of RMS before the cast to float16, the "
        "other by {large}"
    ): "更接近 FP64 的是模式 {nearer}：转换为 float16 之前，其扫描的误差最大为 RMS 的 {small}，另一个为 {large}",
    (
        "Of the squared difference at y, {operation} ({switch}) makes {part}, and cause {cause} of the plan "
        "({title}) {whole}."
    ): "在 y 处差异的平方中，{operation}（{switch}）占 {part}，计划的原因 {cause}（{title}）占 {whole}。",
    "Repair {operation} of {scan}; until then use mode {mode}.": (
        "请修复 {scan} 的 {operation}；在此之前使用模式 {mode}。"
    ),
    (
        "A difference in the answers of modes {a} and {b} is established: of {count} items {b} gains {gained} and "
        "loses {lost} (exact McNemar p = {p})."
    ): (
        "模式 {a} 与 {b} 的答案之间的差异成立：在 {count} 个样本中，{b} 多答对 {gained} 个、少答对 {lost} 个（"
        "McNemar 精确检验 p = {p}）。"
    ),
    "; after it, in {count} of {layers} layers.": "；转换之后，{layers} 层中有 {count} 层如此。",
    (
        "Of the squared difference at y, {operation} ({switch}) makes {part} (95 % of resampled items: {low} to "
        "{high}), and cause {cause} of the plan ({title}) {whole}."
    ): (
        "在 y 处差异的平方中，{operation}（{switch}）占 {part}（重抽样样本的 95 % 区间：{low} 到 {high}），计划的原"
        "因 {cause}（{title}）占 {whole}。"
    ),
    "Look at step {step} first: {title}.": "请先看步骤 {step}：{title}。",
    "Both scans err alike against FP64.": "两个扫描相对 FP64 的误差相同。",
    "Their amplifiers: {kinds}.": "它们的放大点：{kinds}。",
    "The modes give their scans different inputs by design; judge them as different models.": (
        "两种模式按设计就给扫描不同的输入；应当作为不同的模型来评价。"
    ),
    "No step was run, so there is no verdict.": "没有运行任何步骤，因此没有结论。",
    (
        "Do not look for a cause of the difference in accuracy until it is shown with more items; the scans differ "
        "by rounding."
    ): "在用更多样本证实正确率的差异之前，不要去找它的原因；两个扫描的差异只是舍入。",
    "Either mode will do.": "两种模式都可以使用。",
    "The scans differ by rounding only; what is established comes from how the model amplifies it.": (
        "两个扫描的差异只是舍入；已成立的差异来自模型对舍入的放大。"
    ),
    "{kind} ({count} item)": "{kind}（{count} 个样本）",
    "{kind} ({count} items)": "{kind}（{count} 个样本）",
    "Inside the scan there is nothing to repair.": "扫描内部没有需要修复之处。",
    "No remedy follows from these steps.": "由这些步骤得不出改进办法。",
    "modes is {modes}: pass a list of at least one mode, such as ['0', '2-1']": (
        "modes 的值是 {modes}：请给出至少一种模式的列表，例如 ['0', '2-1']"
    ),
    "item {item} is out of range: the task has {count}, 0 to {last}": (
        "样本 {item} 超出范围：该任务有 {count} 个样本，编号 0 到 {last}"
    ),
    "layer {layer} is out of range: the model has {count}, 0 to {last}": (
        "层 {layer} 超出范围：该模型有 {count} 层，编号 0 到 {last}"
    ),
    "It took longer than the {seconds} seconds it may take.": "运行时间超过了允许的 {seconds} 秒。",
    "The run ended.": "运行已结束。",
    "It ended with exit code {code} and no word; see logs/{name}.log.": (
        "它以退出码 {code} 结束，没有留下说明；请看 logs/{name}.log。"
    ),
    "Somebody stopped the run.": "有人停止了运行。",
    "Signal {number} ended it.": "它被信号 {number} 终止。",
    "Somebody stopped the run before this notebook began.": "在这个笔记本开始之前，有人停止了运行。",
    "task {task} is unknown: choose {known}, or the path of a .jsonl file that exists": (
        "没有任务 {task}：请选择 {known}，或给出一个存在的 .jsonl 文件的路径"
    ),
    "{path} is empty: write one JSON object with a 'text' per line": (
        "{path} 是空的：每行应写一个含有 'text' 的 JSON 对象"
    ),
    "{text} has no last word after a context: end each text with a space and one word": (
        "{text} 在上文之后没有最后一个词：每条文本应以空格和一个词结尾"
    ),
    "limit is {limit}: {name} has {count} items, so give a whole number from 1 to {count}, or none for all": (
        "limit 的值是 {limit}：{name} 有 {count} 个样本，请给出 1 到 {count} 的整数，不给则为全部"
    ),
    "{path} cannot be read as text ({error}): give a UTF-8 .jsonl file": (
        "{path} 无法作为文本读取（{error}）：请给出 UTF-8 编码的 .jsonl 文件"
    ),
    '{where} has no \'text\': write {{"text": "..."}} with a string on each line': (
        '{where} 没有 \'text\'：每行应写 {{"text": "..."}}，值为字符串'
    ),
    "{where} is not valid JSON ({msg}): write one JSON object per line": (
        "{where} 不是有效的 JSON（{msg}）：每行应写一个 JSON 对象"
    ),
    "every {count} tokens": "每 {count} 个词元",
    "{b} against {a}": "{b} 对 {a}",
    (
        "{only_a} of {n} items are right only in mode {mode_a}, {only_b} only in mode {mode_b} (exact McNemar p = "
        "{p}); the mean change is {nats} nats."
    ): (
        "{n} 个样本中，仅模式 {mode_a} 答对的有 {only_a} 个，仅模式 {mode_b} 答对的有 {only_b} 个（McNemar 精确检验"
        " p = {p}）；平均变化 {nats} nat。"
    ),
    "Modes {mode_a} and {mode_b} answer every item alike.": "模式 {mode_a} 与 {mode_b} 对每个样本的答案都相同。",
    "Mode {mode} is held against itself.": "这是模式 {mode} 与它自身的对比。",
    (
        "Mode {mode_b} gives the target {total} nats {more} than mode {mode_a}; the token whose log-probability "
        "changes most is {moved}, by {by}."
    ): (
        "模式 {mode_b} 给目标词的对数概率比模式 {mode_a} {more} {total} nat；对数概率变化最大的是词元 {moved}，变化"
        " {by}。"
    ),
    "Modes {mode_a} and {mode_b} give every token of item {item} the same probability.": (
        "模式 {mode_a} 与 {mode_b} 给样本 {item} 的每个词元的概率都相同。"
    ),
    "less likely in mode {mode}": "模式 {mode} 中概率较低",
    "more likely in mode {mode}": "模式 {mode} 中概率较高",
    "target": "目标词",
    "right": "对",
    "wrong": "错",
    "more": "多",
    "less": "少",
    "Nothing was measured for this choice.": "这一选项没有测量结果。",
    "Layer {layer}, channel {channel}, the inputs of mode {mode_a}, item {item}.": (
        "第 {layer} 层，通道 {channel}，模式 {mode_a} 的输入，样本 {item}。"
    ),
    "{step} of modes {a} and {b}, item {item}": "模式 {a} 与 {b} 的{step}，样本 {item}",
    "mode {mode} on item {item}": "模式 {mode} 运行样本 {item}",
    "mode {b} on the inputs of mode {a}, item {item}": "模式 {b} 以模式 {a} 的输入运行，样本 {item}",
    "the answers of mode {mode}": "模式 {mode} 的答案",
    "what runs in mode {mode}": "模式 {mode} 实际运行了什么",
    (
        "Layer {layer}, item {item}. A → B where the modes differ. Given equal inputs, the first stage of mode "
        "{mode_b} whose values differ from mode {mode_a} is: {stage}."
    ): (
        "第 {layer} 层，样本 {item}。两种模式不同之处写作 A → B。输入相同时，模式 {mode_b} 中数值最先与模式 "
        "{mode_a} 不同的阶段是：{stage}。"
    ),
    "Layer {layer}, item {item}. Given equal inputs, no stage of mode {mode_b} differs from mode {mode_a}.": (
        "第 {layer} 层，样本 {item}。输入相同时，模式 {mode_b} 的任何阶段都与模式 {mode_a} 相同。"
    ),
    "state {scale}": "状态 {scale}",
    "{stage} of layer {layer}, channel {row}, {run}: {unequal} of {total} differ.": (
        "第 {layer} 层的 {stage}，通道 {row}，{run}：{total} 个中有 {unequal} 个不同。"
    ),
    "Layer {layer}, token {token}, channel {channel}, free run.": (
        "第 {layer} 层，词元 {token}，通道 {channel}，自由运行。"
    ),
    "{stage} of layer {layer}, {run}.": "第 {layer} 层的 {stage}，{run}。",
    "{stage} of layer {layer}, {run}: {word}.": "第 {layer} 层的 {stage}，{run}：{word}。",
    "the largest difference, {size} of the stage's RMS, is at layer {layer}, token {token}": (
        "最大的差异为该阶段 RMS 的 {size}，位于第 {layer} 层、词元 {token}"
    ),
    "no value differs": "没有数值不同",
    "{stage} of mode {mode_b} against mode {mode_a}, item {item}, {run}: {where}.": (
        "模式 {mode_b} 对模式 {mode_a} 的 {stage}，样本 {item}，{run}：{where}。"
    ),
    "This stage has {count} rows, so row {row} stands for channel {channel}.": (
        "该阶段有 {count} 行，因此第 {row} 行代表通道 {channel}。"
    ),
    "The stage has no codes: one step stands for {scale}.": "该阶段没有码值：一格代表 {scale}。",
    "equal": "相等",
    "{size} of the RMS apart": "相差 RMS 的 {size}",
    "code, {mode}": "码值，{mode}",
    "value, {mode}": "数值，{mode}",
    "{seconds} s, {prompts} prompts through the model; the square in the toolbar stops it": (
        "{seconds} 秒，{prompts} 个提示已通过模型；点击工具栏的方块可停止"
    ),
    "{title}: click to choose, {keys}": "{title}：点击选择，{keys}",
    "token {i}": "词元 {i}",
    "token {i}: {change} nats": "词元 {i}：{change} nat",
    "The item; left and right arrow choose a token": "样本；左右方向键选择词元",
    "Computing {what} …": "正在计算：{what} ……",
}
