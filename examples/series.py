"""A numpy series: learn to predict its next value, and forecast what comes after its end."""

import numpy as np

import seqlra

time = np.arange(1040)
series = np.sin(0.2 * time) + 0.5 * np.sin(0.5 * time)  # (time,)
known, future = series[:1000], series[1000:]
streams = known.reshape(8, 125, 1)  # eight parts side by side: (batch, time, features)

# errors go back through time, over feedback that is learned
rule = seqlra.LRAFeedback(feedback="learned", window=None, carry="error", c2=None)
graph = seqlra.Graph(seqlra.elman(1, [32], 1, steps=20, output="gaussian", across_time=True))
seqlra.initialize(graph, seed=0, weights="orthogonal", feedback="mirror", rule=rule)
data = streams[:, :-1], streams[:, 1:]  # the target of a step is the value of the next one
history = seqlra.fit(graph, rule, data, epochs=50, lr=0.01, schedule="linear", stateful=True)
print(f"loss of a step: {history[0]['train_loss']:.3f} in the first epoch, {history[-1]['train_loss']:.5f} in the last")

forecast = seqlra.forecast(graph, known[None, :, None], steps=40)[0, :, 0]  # reads all that is known, then runs free
print("forecast:", forecast[::8].round(2))
print("truth:   ", future[::8].round(2))
print(f"root mean squared error: {np.sqrt(((forecast - future) ** 2).mean()):.3f}")
