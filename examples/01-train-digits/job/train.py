"""Trains a small neural network on scikit-learn's bundled handwritten digits. Nothing is downloaded.

It reads its settings from environment variables, as the queue's config hands them over, and leaves its
metrics in $SLIPWAY_OUTPUT_DIR/metrics.json, where Slipway finds them. It knows nothing else of Slipway:
run it by hand with `python train.py`.
"""

import json
import os
import time
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

learning_rate = float(os.environ.get("LEARNING_RATE", "0.001"))
hidden_units = int(os.environ.get("HIDDEN_UNITS", "32"))
epochs = int(os.environ.get("EPOCHS", "20"))

digits = load_digits()
x_train, x_test, y_train, y_test = train_test_split(
    digits.data / 16.0, digits.target, test_size=0.25, random_state=0, stratify=digits.target
)
print(f"{len(x_train)} training images, {len(x_test)} held out", flush=True)
print(f"learning_rate={learning_rate} hidden_units={hidden_units} epochs={epochs}", flush=True)

started = time.monotonic()
model = MLPClassifier(hidden_layer_sizes=(hidden_units,), learning_rate_init=learning_rate, random_state=0)
for epoch in range(1, epochs + 1):
    model.partial_fit(x_train, y_train, classes=range(10))
    if epoch % 5 == 0 or epoch == epochs:
        print(f"epoch {epoch:3}  loss {model.loss_:.4f}  accuracy {model.score(x_test, y_test):.4f}", flush=True)

metrics = {
    "accuracy": round(model.score(x_test, y_test), 4),
    "loss": round(float(model.loss_), 4),
    "epochs": epochs,
    "train_seconds": round(time.monotonic() - started, 2),
}
output = Path(os.environ.get("SLIPWAY_OUTPUT_DIR", "."))
(output / "metrics.json").write_text(json.dumps(metrics))
print(f"done: {metrics}", flush=True)
