"""The names of figures, for tables and command lines, which import nothing heavy to be understood."""

PREDICTED = ("accuracy", "balanced_accuracy", "macro_f1")  # in percent; a calibrator that keeps the order keeps them
CALIBRATORS = ("temperature", "isotonic", "dac", "none")
DEFINITIONS = {
    "auroc": "P(known > unknown) + P(equal) / 2",
    "fpr95_id": "share of unknown images accepted at the largest threshold that accepts 95 % of the known ones",
    "fpr95_ood": "share of known images rejected at the smallest threshold that rejects 95 % of the unknown ones",
    "aupr_in": "average precision, known images positive",
    "aupr_out": "average precision, unknown images positive",
}
OF_OTHERS = {  # of published figures alone
    "fpr95_id_linear": "share of unknown images accepted at 95 % of the known ones, between two thresholds by a line",
}
