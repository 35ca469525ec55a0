"""The lab's LeNet in JAX: a function of its parameters, which have the names and the layout of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from laju.core.extras import needed_by

with needed_by("training in JAX", "jax"):
    import jax
    import jax.numpy as jnp

Parameters = dict[str, jax.Array]


def lenet(
    weights: Mapping[str, npt.NDArray[np.float32]],
) -> tuple[Parameters, Callable[[Parameters, jax.Array], jax.Array]]:
    """The network with these weights as a pair (parameters, apply).

    Args:
        weights: by the names and in the layout of torch, from `initial_weights`.
    """
    return {name: jnp.asarray(array) for name, array in weights.items()}, apply


def apply(parameters: Parameters, images: jax.Array) -> jax.Array:
    """From images (N, 1, 28, 28) to ten logits (N, 10)."""
    # The batch is the last axis, so that shifted windows are long runs of memory.
    x = jnp.pad(images.transpose(1, 2, 3, 0), ((0, 0), (2, 2), (2, 2), (0, 0)))
    for layer in ("conv1", "conv2"):
        x = _convolution(x, parameters[f"{layer}.weight"]) + parameters[f"{layer}.bias"][:, None, None, None]
        x = _halved(jax.nn.relu(x))
    x = x.reshape(-1, x.shape[-1]).T
    for layer in ("fc1", "fc2", "fc3"):
        x = x @ parameters[f"{layer}.weight"].T + parameters[f"{layer}.bias"]
        if layer != "fc3":
            x = jax.nn.relu(x)
    return x


def _convolution(x: jax.Array, weight: jax.Array) -> jax.Array:
    """The convolution of (channels, rows, columns, N) as a product with the shifted windows.

    XLA has no fast convolution for the CPU: `jax.lax.conv` and its gradients take several times as long as this product.
    """
    outputs, channels, height, width = weight.shape
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    # Rows first and then columns: 10 slices compile in half the time of 25.
    windows = jnp.stack([x[:, i : i + rows] for i in range(height)], axis=1)
    windows = jnp.stack([windows[:, :, :, j : j + columns] for j in range(width)], axis=2)
    product = weight.reshape(outputs, -1) @ windows.reshape(channels * height * width, -1)
    return product.reshape(outputs, rows, columns, -1)


def _halved(x: jax.Array) -> jax.Array:
    """The 2x2 max pooling."""
    channels, rows, columns, n = x.shape
    return x.reshape(channels, rows // 2, 2, columns // 2, 2, n).max(axis=(2, 4))
