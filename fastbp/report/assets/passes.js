"use strict";
// What the page shows of the forward and the backward pass.

const IS_BOUNDED = new Set(["sigmoid", "tanh", "softmax"]);  // activations of 1 at most
const fixed = x => x.toFixed(3).replace("-", "−");

/** Compute and show everything for the input x. */
function show(x) {
  const {net} = page;
  page.x = x;
  page.forward = feedforward(net, x);
  page.target = targetOf(net, page.neuron);
  page.backward = page.target && backpropagate(net, page.forward, page.target);
  paintDigit(element("input"), x, content.centring.side);
  showHiddenLayers();
  showOutputs();
  showBackward();
}

/** Return the target y for the chosen {j, value} (value: of one output neuron), or null. */
function targetOf(net, neuron) {
  if (!neuron) return null;
  const n = net.sizes.at(-1);
  return Float64Array.from({length: n}, (_, j) => (n === 1 ? neuron.value : +(j === neuron.j)));
}

function showHiddenLayers() {
  for (const canvas of element("hidden-layers").querySelectorAll("canvas")) {
    const {layer} = canvas.dataset, a = page.forward.A[layer];
    paintNeurons(canvas, a, IS_BOUNDED.has(page.net.layers[layer - 1].activation) ? 1 : largest(a));
    const n = a.filter(v => v > 0.5).length;
    canvas.setAttribute("aria-label", `${n} of ${a.length} activations are above 0.5`);
  }
}

function showOutputs() {
  const a = page.forward.A.at(-1), best = a.indexOf(Math.max(...a)), n = a.length;
  const delta = page.backward?.Delta.at(-1);
  const scale = IS_BOUNDED.has(page.net.layers.at(-1).activation) ? 1 : largest(a);
  element("outputs").querySelectorAll("button").forEach((button, j) => {
    const part = Math.max(0, Math.min(a[j] / scale, 1));
    button.querySelector(".bar").style.setProperty("--part", part);
    button.querySelector(".value").textContent = fixed(a[j]);
    button.ariaLabel = `output neuron ${j}: ${fixed(a[j])}`;
    button.classList.toggle("best", n > 1 && j === best);
    button.setAttribute("aria-pressed", page.neuron?.j === j);
    button.querySelector(".delta").textContent = delta ? `δ ${fixed(delta[j])}` : "";
  });
  const isEmpty = page.x.every(v => v === 0);
  element("answer").textContent = isEmpty ? "Nothing is drawn" : n > 1
    ? `Answer: ${best}` : `Output: ${fixed(a[0])}`;
}

function showBackward() {
  const {net, backward, target, neuron} = page;
  element("backward").hidden = element("equations").hidden = !backward;
  element("backward-hint").hidden = !!backward;
  if (!backward) return;
  const wanted = target.length > 1 ? neuron.j : `the output ${neuron.value}`;
  const cost = costOf(net, page.forward.A.at(-1), target);
  element("cost").innerHTML = `If the answer ought to be ${wanted}: cost C = ${format(cost)}`;
  const {inputGradient} = backward, {side} = content.centring;
  paintSigned(element("input-gradient"), inputGradient.map(g => -g));
  element("input-gradient").setAttribute("aria-label", "The negative gradient of the cost by the " +
    `pixels, up to ${largest(inputGradient).toPrecision(3)} in size`);
  for (const canvas of element("deltas").querySelectorAll("canvas")) {
    const delta = backward.Delta[canvas.dataset.layer];
    paintNeurons(canvas, delta, largest(delta));
    canvas.setAttribute("aria-label", `The deltas, up to ${largest(delta).toPrecision(3)} in size`);
  }
  const rows = equationRows(net, page.forward, backward, target, neuron.j, side);
  element("equations").innerHTML = "<caption>The four equations, with the numbers of this drawing" +
    '</caption><thead><tr><th scope="col"></th><th scope="col">equation</th>' +
    '<th scope="col">here</th></tr></thead>' + rows.map(([name, equation, numbers]) =>
      `<tr><th scope="row">${name}</th><td>${equation}</td><td>${numbers}</td></tr>`).join("");
}

/** Choose the output neuron j; one chosen already is given up, a single one has two targets. */
function choose(j) {
  const [low, high] = page.net.targets, {neuron, net} = page;
  if (net.sizes.at(-1) > 1) page.neuron = neuron?.j === j ? null : {j};
  else page.neuron = neuron ? (neuron.value === high ? {j, value: low} : null) : {j, value: high};
  show(page.x);
}
