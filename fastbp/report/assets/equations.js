"use strict";
// The four equations of backpropagation with the numbers of one drawing put in.

/** Return a number with three digits, as HTML. */
function format(x) {
  if (Number.isInteger(x) && Math.abs(x) < 1000) return String(x).replace("-", "−");
  const [mantissa, exponent] = x.toExponential(2).split("e").map(Number);
  const text = exponent < -3 || exponent > 4
    ? `${mantissa} × 10<sup>${exponent}</sup>` : x.toPrecision(3);
  return text.replaceAll("-", "−");
}

/** Return a factor of a product: negative numbers and powers of ten in brackets. */
const factor = x => (x < 0 || /×/.test(format(x)) ? `(${format(x)})` : format(x));

const indexOfLargest = values => values.reduce(
  (best, v, i) => (Math.abs(v) > Math.abs(values[best]) ? i : best), 0);

/** Return the rows [name, equation, numbers] of the table, for the output neuron j. */
function equationRows(net, {A, Z}, {Delta, inputGradient}, y, j, side) {
  const last = net.layers.length, L = last + 1;  // the book counts the input layer as the first
  const rows = [bp1(net, A[last], Z[last], Delta[last], y, j, L)];
  for (let l = last - 1; l > 0; l--) rows.push(bp2(net, A, Z, Delta, l));
  rows.push(["BP3", "∂C/∂b<sub>j</sub> = δ<sub>j</sub>",
    `output neuron ${j}: ∂C/∂b = ${format(biasGradient(Delta[last], j))}`]);
  const k = indexOfLargest(A[last - 1]), a = A[last - 1][k];
  const gradient = weightGradient(A[last - 1], Delta[last], j, k);
  rows.push(["BP4", "∂C/∂w<sub>jk</sub> = a<sub>k</sub> δ<sub>j</sub>",
    `from neuron ${k} of layer ${L - 1}, its most active, to output neuron ${j}: ` +
    `${factor(a)} × ${factor(Delta[last][j])} = ${format(gradient)}`]);
  const p = indexOfLargest(inputGradient);
  rows.push(["Input", "∂C/∂x<sub>k</sub> = Σ<sub>j</sub> w<sub>jk</sub> δ<sub>j</sub>",
    `largest at row ${Math.floor(p / side)}, column ${p % side}: ${format(inputGradient[p])}`]);
  return rows;
}

function bp1(net, a, z, delta, y, j, L) {
  const {activation} = net.layers.at(-1), isQuadratic = net.cost === "quadratic";
  const slope = isQuadratic ? ACTIVATIONS[activation].slope(z[j], a[j]) : 1;
  const difference = `(${format(a[j])} − ${factor(y[j])})`;
  return ["BP1",
    `δ<sub>j</sub> = (a<sub>j</sub> − y<sub>j</sub>)${isQuadratic ? " f′(z<sub>j</sub>)" : ""}`,
    `layer ${L}, output neuron ${j}: ${difference}` +
    `${isQuadratic ? ` × ${format(slope)}` : ""} = ${format(delta[j])}`];
}

function bp2(net, A, Z, Delta, l) {
  const k = indexOfLargest(Delta[l]), {activation} = net.layers[l - 1];
  const sum = transposedProduct(net.layers[l], Delta[l + 1])[k];
  const slope = ACTIVATIONS[activation].slope(Z[l][k], A[l][k]);
  const equation = "δ<sub>k</sub> = (Σ<sub>j</sub> w<sub>jk</sub> δ<sub>j</sub>) f′(z<sub>k</sub>)";
  return ["BP2", equation, `layer ${l + 1}, neuron ${k}, whose δ is largest: ` +
    `${factor(sum)} × ${format(slope)} = ${format(Delta[l][k])}`];
}
