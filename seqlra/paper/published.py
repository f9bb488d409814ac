"""The figures that the paper prints, for setting beside ours. Errors in percent; None where it prints an X.

Source: Ororbia, Mali, Kifer and Giles 2018, Tables 1 to 4 and Section 3.5.
"""

from __future__ import annotations

STDS = (0.0, 0.025, 0.05, 0.1)
"""Standard deviations of the initial weights in Table 1; 0 is the null initialization."""

TABLE1: dict[tuple[str, str, str], tuple[float | None, ...]] = {
    ("mnist", "sigmoid", "backprop"): (None, 88.66, 88.66, 88.66),
    ("mnist", "sigmoid", "fa"): (88.65, 88.65, 88.65, 88.65),
    ("mnist", "sigmoid", "dfa"): (30.84, 31.78, 31.77, 26.81),
    ("mnist", "sigmoid", "dtp"): (None, 18.06, 16.83, 17.06),
    ("mnist", "sigmoid", "lra-fdbk"): (2.75, 2.85, 2.89, 2.96),
    ("mnist", "tanh", "backprop"): (None, 88.65, 2.67, 2.48),
    ("mnist", "tanh", "fa"): (16.1, 12.73, 11.86, 11.81),
    ("mnist", "tanh", "dfa"): (5.24, 4.11, 5.12, 4.9),
    ("mnist", "tanh", "dtp"): (None, 67.51, 5.38, 3.19),
    ("mnist", "tanh", "lra-fdbk"): (2.69, 2.87, 2.82, 3.72),
    ("fashion_mnist", "sigmoid", "backprop"): (None, 90.0, 90.0, 90.0),
    ("fashion_mnist", "sigmoid", "fa"): (90.0, 90.0, 90.0, 89.97),
    ("fashion_mnist", "sigmoid", "dfa"): (35.91, 37.4, 41.62, 37.7),
    ("fashion_mnist", "sigmoid", "dtp"): (None, 41.1, 26.26, 24.69),
    ("fashion_mnist", "sigmoid", "lra-fdbk"): (13.27, 12.85, 12.94, 12.96),
    ("fashion_mnist", "tanh", "backprop"): (None, 29.04, 11.48, 11.38),
    ("fashion_mnist", "tanh", "fa"): (24.82, 24.57, 21.67, 20.01),
    ("fashion_mnist", "tanh", "dfa"): (13.92, 12.82, 13.95, 14.13),
    ("fashion_mnist", "tanh", "dtp"): (None, 79.84, 60.19, 13.59),
    ("fashion_mnist", "tanh", "lra-fdbk"): (11.85, 12.14, 12.62, 12.65),
}
"""By data, unit and rule the test error at each of `STDS`, the best found within 100 epochs."""

TABLE2: dict[tuple[str, str], tuple[float, float, float, float, int]] = {
    ("softsign", "mnist"): (5.94, 2.13, 2.32, 1.86, 25),
    ("relu6", "mnist"): (8.6, 3.14, 2.58, 2.18, 69),
    ("softplus", "mnist"): (14.94, 4.1, 3.53, 2.96, 94),
    ("LWTA-1", "mnist"): (7.02, 2.96, 2.68, 2.37, 67),
    ("LWTA-2", "mnist"): (6.96, 2.57, 2.88, 2.48, 44),
    ("SLWTA-1", "mnist"): (9.15, 2.1, 2.24, 1.78, 33),
    ("SLWTA-2", "mnist"): (8.99, 2.21, 2.1, 1.91, 33),
    ("signum", "mnist"): (6.88, 2.09, 2.07, 1.84, 45),
    ("softsign", "fashion_mnist"): (17.22, 13.47, 13.2, 12.74, 30),
    ("relu6", "fashion_mnist"): (19.7, 11.52, 12.46, 11.18, 98),
    ("softplus", "fashion_mnist"): (31.35, 15.94, 15.46, 13.37, 79),
    ("LWTA-1", "fashion_mnist"): (18.25, 12.72, 12.52, 12.33, 72),
    ("LWTA-2", "fashion_mnist"): (17.89, 12.85, 12.76, 12.05, 54),
    ("SLWTA-1", "fashion_mnist"): (20.15, 11.78, 11.47, 11.03, 96),
    ("SLWTA-2", "fashion_mnist"): (20.0, 11.74, 11.58, 11.29, 88),
    ("signum", "fashion_mnist"): (19.23, 12.48, 13.06, 12.06, 65),
}
"""By network and data the test error after epochs 1, 50 and 100, the best, and the epoch of the best."""

TABLE3: dict[tuple[str, str], float] = {
    ("ste", "mnist"): 85.409,
    ("ste-sigmoid", "mnist"): 96.039,
    ("ste-slope", "mnist"): 97.180,
    ("reinforce", "mnist"): 88.811,
    ("reinforce-va", "mnist"): 94.110,
    ("dtp", "mnist"): 98.460,
    ("lra-fdbk", "mnist"): 98.280,
    ("ste", "fashion_mnist"): 59.040,
    ("ste-sigmoid", "fashion_mnist"): 85.17,
    ("ste-slope", "fashion_mnist"): 84.790,
    ("reinforce", "fashion_mnist"): 75.160,
    ("reinforce-va", "fashion_mnist"): 81.360,
    ("dtp", "fashion_mnist"): 87.320,
    ("lra-fdbk", "fashion_mnist"): 89.210,
}
"""By method and data what the table prints. Its caption says error in percent; the text and the numbers, accuracy."""

TABLE4: dict[str, tuple[float, float, float]] = {
    "lra-pretrained": (1.49, 11.02, 11.42),
    "lra-finetuned": (0.13, 10.11, 11.32),
    "backprop-pretrained": (0.11, 11.00, 10.61),
    "backprop-finetuned": (0.00, 10.00, 10.19),
}
"""By phase the error on training, validation and test images of Fashion-MNIST."""

FIRST_ANGLE, LAST_ANGLE = 10.0, 38.0
"""Degrees between the updates of LRA-fdbk and backprop, at first and "ultimately" (Section 3.5, Figure 7)."""
