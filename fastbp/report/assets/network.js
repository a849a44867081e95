"use strict";
// The network: feedforward, and the four equations of backpropagation (book, chapter 2).
//
// A network is {sizes, layers, cost}; a layer is {w, b, activation, nIn, nOut}, w row-major
// (nOut, nIn). Layers are counted from 0 here: layers[l] turns A[l] into A[l + 1].

// For each activation: f(z) of a layer, and f'(z) of a neuron from z and a = f(z).
const ACTIVATIONS = {
  sigmoid: {f: z => z.map(v => 1 / (1 + Math.exp(-v))), slope: (z, a) => a * (1 - a)},
  tanh: {f: z => z.map(Math.tanh), slope: (z, a) => 1 - a * a},
  relu: {f: z => z.map(v => Math.max(v, 0)), slope: (z, a) => (z > 0 ? 1 : 0)},
  linear: {f: z => z, slope: (z, a) => 1},
  softmax: {f: softmax, slope: null},  // its cost is made so that the slope cancels
};

function softmax(z) {
  const most = Math.max(...z), e = z.map(v => Math.exp(v - most));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map(v => v / sum);
}

/** Return the network whose weights and biases, w1 b1 w2 b2 ..., are float32 in base64. */
function readNetwork({sizes, activations, cost, targets, parameters}) {
  const flat = new Float32Array(bytesOf(parameters).buffer);
  let start = 0;
  const take = n => flat.subarray(start, start += n);
  const layers = activations.map((activation, l) => {
    const [nIn, nOut] = [sizes[l], sizes[l + 1]];
    return {activation, nIn, nOut, w: take(nIn * nOut), b: take(nOut)};
  });
  return {sizes, layers, cost, targets};
}

const bytesOf = base64 => Uint8Array.from(atob(base64), c => c.charCodeAt(0));

/** Return {A, Z}: the activations of all layers, x the first, and the weighted inputs. */
function feedforward(net, x) {
  const A = [Float64Array.from(x)], Z = [null];
  for (const {w, b, activation, nIn, nOut} of net.layers) {
    const a = A.at(-1), z = new Float64Array(nOut);
    for (let j = 0; j < nOut; j++) {
      let sum = b[j];
      for (let k = 0; k < nIn; k++) sum += w[j * nIn + k] * a[k];
      z[j] = sum;
    }
    Z.push(z);
    A.push(ACTIVATIONS[activation].f(z));
  }
  return {A, Z};
}

/** BP1: return the delta of the output layer, (a - y) f'(z) for the quadratic cost, else a - y. */
function outputDelta(net, a, z, y) {
  const {slope} = ACTIVATIONS[net.layers.at(-1).activation];
  return a.map((v, j) => (v - y[j]) * (net.cost === "quadratic" ? slope(z[j], v) : 1));
}

/** Return the sums over j of w_jk delta_j: (w^T delta) of a layer. */
function transposedProduct({w, nIn, nOut}, delta) {
  const sums = new Float64Array(nIn);
  for (let j = 0; j < nOut; j++) {
    for (let k = 0; k < nIn; k++) sums[k] += w[j * nIn + k] * delta[j];
  }
  return sums;
}

/** BP2: return the delta of the layer before: (w^T delta) f'(z). */
function layerBefore(layer, delta, activation, a, z) {
  const {slope} = ACTIVATIONS[activation];
  return transposedProduct(layer, delta).map((sum, k) => sum * slope(z[k], a[k]));
}

/** Return {Delta, inputGradient}: the delta of each layer (null for the input), and dC/dx. */
function backpropagate(net, {A, Z}, y) {
  const last = net.layers.length, Delta = [null];
  Delta[last] = outputDelta(net, A[last], Z[last], y);
  for (let l = last - 1; l > 0; l--) {
    const {activation} = net.layers[l - 1];
    Delta[l] = layerBefore(net.layers[l], Delta[l + 1], activation, A[l], Z[l]);
  }
  return {Delta, inputGradient: transposedProduct(net.layers[0], Delta[1])};
}

/** BP3: return dC/db_j of a layer with this delta. */
const biasGradient = (delta, j) => delta[j];

/** BP4: return dC/dw_jk; a: the activations of the layer before. */
const weightGradient = (a, delta, j, k) => a[k] * delta[j];

/** Return the cost C of one output a for the target y; 0 ln 0 counts as 0. */
function costOf({cost}, a, y) {
  const xlog = (x, v) => (x === 0 ? 0 : x * Math.log(v));
  const term = {
    "quadratic": (v, t) => (v - t) ** 2 / 2,
    "cross-entropy": (v, t) => -xlog(t, v) - xlog(1 - t, 1 - v),
    "log-likelihood": (v, t) => -xlog(t, v),
  }[cost];
  return a.reduce((sum, v, j) => sum + term(v, y[j]), 0);
}
