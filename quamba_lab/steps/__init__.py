"""The five steps of the debug plan, one module each, and the summary that joins their verdicts.

    run = Workbook(model="demo", modes=("0", "2-0", "2-1", "2-2"), limit=100)
    plans_figures()                          step 1: what 38 of 100 against 36 of 100 allows, before any run
    is_it_real(run)                          step 1: accuracy, perplexity, paired tests, A/A control, floor, power
    scan_inputs(run, "0", "2-1")             step 2: what the scans receive
    dequantization(run, "0", "2-1")          step 3: the value of all 256 codes
    scan_outputs(run, "0", "2-1")            step 4: what the scans return, free run and lockstep
    inside_the_scan(run, "0", "2-1")         step 5: the operations of the scan, one after the other
    error_budget(run, "0", "2-1")            step 5: where the error of the state comes from
    state_quantization(run, "0", "2-1")      step 5: the plan's cause 3
    causes(run, "0", "2-1")                  which switch, which of the plan's causes, what share
    amplifiers(run, "0", "2-1")              where a rounding becomes a difference
    answer_tracing(run, "0", "2-1")          which stage of which layer turns an answer
    summary([...])                           one verdict

Every result is frozen and has ``verdict``, ``status``, ``table()``, ``tables()``, ``figure()``, ``figures()``,
``view_data()`` and ``to_json()``.
"""

from .amplifiers import Amplifiers, amplifiers
from .answer_tracing import AnswerTracing, answer_tracing
from .causes import Causes, causes
from .dequantization import Dequantization, dequantization
from .error_budget import ErrorBudget, error_budget
from .inside_the_scan import InsideTheScan, inside_the_scan
from .is_it_real import IsItReal, is_it_real
from .plan import PlansFigures, plans_figures
from .result import StepResult
from .scan_inputs import ScanInputsResult, scan_inputs
from .scan_outputs import ScanOutputs, scan_outputs
from .state_quantization import StateQuantization, state_quantization
from .summary import Verdict, compare_modes, depth, exit_code, summary
from .workbook import Workbook, WorkbookError

__all__ = [
    "Amplifiers",
    "AnswerTracing",
    "Causes",
    "Dequantization",
    "ErrorBudget",
    "InsideTheScan",
    "IsItReal",
    "PlansFigures",
    "ScanInputsResult",
    "ScanOutputs",
    "StateQuantization",
    "StepResult",
    "Verdict",
    "Workbook",
    "WorkbookError",
    "amplifiers",
    "answer_tracing",
    "causes",
    "compare_modes",
    "depth",
    "dequantization",
    "error_budget",
    "exit_code",
    "inside_the_scan",
    "is_it_real",
    "plans_figures",
    "scan_inputs",
    "scan_outputs",
    "state_quantization",
    "summary",
]
