"use strict";
// The page: the drawing area, the layers as they change, and the pictures of the sections.

const element = id => document.getElementById(id);
const content = JSON.parse(element("content").textContent);
const page = {net: null, x: null, neuron: null, target: null, forward: null, backward: null};

/** Return a new element within a parent; properties: as in JavaScript, and its class. */
function add(parent, tag, properties = {}) {
  const child = Object.assign(document.createElement(tag), properties);
  parent.append(child);
  return child;
}

const pixelsOf = image => Float64Array.from(bytesOf(image.pixels), byte => byte / 256);

// ---------------------------------------------------------------- drawing

/** Return {ink, height, width} of the drawing area: 0..1, row by row. */
function inkOf(canvas) {
  const {width, height} = canvas;
  const rgba = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  return {ink: Array.from({length: width * height}, (_, i) => rgba[4 * i + 3] / 255), height, width};
}

/** Make pointer strokes draw on a canvas; call onStroke, once a frame, while they do. */
function listenToPointer(canvas, onStroke) {
  const context = canvas.getContext("2d", {willReadFrequently: true});
  let from = null, isWaiting = false;
  const position = event => {
    const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  const draw = event => {
    if (!from) return;
    const to = position(event);
    Object.assign(context, {lineWidth: canvas.width / 13, lineCap: "round", globalAlpha: 1});
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    from = to;
    if (!isWaiting) requestAnimationFrame(() => { isWaiting = false; onStroke(); });
    isWaiting = true;
  };
  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    from = position(event);
    draw(event);
  });
  canvas.addEventListener("pointermove", draw);
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { from = null; });
}

function clearDrawing() {
  const canvas = element("canvas");
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

/** Let the network read what is drawn. */
function readDrawing() {
  const {ink, height, width} = inkOf(element("canvas"));
  const {side} = content.centring;
  show(centreDigit(ink, height, width, content.centring) ?? new Float64Array(side * side));
}

/** Let the network read an image of the test set, and show it in the drawing area. */
function load(image) {
  clearDrawing();
  const canvas = element("canvas"), copy = document.createElement("canvas");
  paintDigit(copy, pixelsOf(image), content.centring.side);
  const context = canvas.getContext("2d");
  Object.assign(context, {globalAlpha: 1, imageSmoothingEnabled: false});
  context.drawImage(copy, 0, 0, canvas.width, canvas.height);
  show(pixelsOf(image));
}

// ---------------------------------------------------------------- forward and backward pass

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
    const a = page.forward.A[canvas.dataset.layer], {activation} = page.net.layers[canvas.dataset.layer - 1];
    paintNeurons(canvas, a, ["sigmoid", "tanh"].includes(activation) ? 1 : largest(a));
    const n = a.filter(v => v > 0.5).length;
    canvas.setAttribute("aria-label", `${n} of ${a.length} activations are above 0.5`);
  }
}

function showOutputs() {
  const a = page.forward.A.at(-1), best = a.indexOf(Math.max(...a)), n = a.length;
  const scale = ["sigmoid", "softmax", "tanh"].includes(page.net.layers.at(-1).activation) ? 1 : largest(a);
  element("outputs").querySelectorAll("button").forEach((button, j) => {
    button.querySelector(".bar").style.setProperty("--part", Math.max(0, Math.min(a[j] / scale, 1)));
    button.querySelector(".value").textContent = a[j].toFixed(3).replace("-", "−");
    button.classList.toggle("best", n > 1 && j === best);
    button.setAttribute("aria-pressed", page.neuron?.j === j);
    button.querySelector(".delta").innerHTML = page.backward ? `δ ${format(page.backward.Delta.at(-1)[j])}` : "";
  });
  const isEmpty = page.x.every(v => v === 0);
  element("answer").textContent = isEmpty ? "Nothing is drawn." : n > 1
    ? `The network reads ${best}.` : `The output is ${a[0].toFixed(3)}.`;
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
  element("input-gradient").setAttribute("aria-label",
    `The negative gradient of the cost by the pixels, up to ${format(largest(inputGradient))} in size`);
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

// ---------------------------------------------------------------- what the page is made of

/** Let the arrow keys move the focus among the buttons of a group. */
function listenToArrows(group) {
  const steps = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1};
  group.addEventListener("keydown", event => {
    if (!(event.key in steps)) return;
    const buttons = [...group.querySelectorAll("button")];
    const i = buttons.indexOf(document.activeElement) + steps[event.key];
    buttons[(i + buttons.length) % buttons.length].focus();
    event.preventDefault();
  });
}

/** Add a button for each image, which lets the network read it (if it can). */
function addImages(group, images, captionOf, labelOf) {
  for (const image of images) {
    const item = add(group, "button", {type: "button", className: "image", ariaLabel: labelOf(image)});
    add(item, "canvas").image = image;
    const caption = captionOf(image);
    if (caption) add(item, "span", {textContent: caption});
    item.disabled = !page.net;
    item.addEventListener("click", () => {
      load(image);
      if (group.id !== "examples") element("drawing").scrollIntoView();
    });
  }
  listenToArrows(group);
}

/** Paint the pictures that do not change; the colours do, with the scheme. */
function paintPictures() {
  for (const canvas of document.querySelectorAll(".image canvas")) {
    paintDigit(canvas, pixelsOf(canvas.image), 28);
  }
  document.querySelectorAll("#weight-images canvas").forEach((canvas, j) => {
    const {w, nIn} = page.net.layers[0];
    paintSigned(canvas, w.subarray(j * nIn, (j + 1) * nIn));
  });
}

/** Add a canvas for the neurons of each hidden layer; captionOf(layer number, layer). */
function addLayers(parent, captionOf) {
  page.net.layers.slice(0, -1).forEach((layer, i) => {
    const figure = add(parent, "figure", {className: "layer"});
    add(figure, "figcaption", {textContent: captionOf(i + 2, layer)});
    const canvas = add(figure, "canvas", {className: "neurons", role: "img"});
    canvas.dataset.layer = i + 1;
  });
}

function addOutputs() {
  const {nOut, activation} = page.net.layers.at(-1), number = page.net.layers.length + 1;
  element("outputs-label").textContent = `Layer ${number}: ${nOut} ${activation} output neurons`;
  for (let j = 0; j < nOut; j++) {
    const button = add(element("outputs"), "button", {type: "button", ariaLabel: `output neuron ${j}`});
    for (const name of ["name", "bar", "value", "delta"]) add(button, "span", {className: name});
    button.firstChild.textContent = nOut > 1 ? j : "a";
    button.addEventListener("click", () => choose(j));
  }
  listenToArrows(element("outputs"));
}

function start() {
  if (content.network) {
    page.net = readNetwork(content.network);
    addLayers(element("hidden-layers"), (l, {nOut, activation}) => `Layer ${l}: ${nOut} ${activation} neurons`);
    addLayers(element("deltas"), (l, {nOut}) => `δ of the ${nOut} neurons of layer ${l}`);
    addOutputs();
    addImages(element("examples"), content.examples, () => "", ({label}) => `Load a ${label}`);
    for (let j = 0; j < Math.min(page.net.sizes[1], content.pictures); j++) add(element("weight-images"), "canvas");
    listenToPointer(element("canvas"), readDrawing);
    element("clear").addEventListener("click", () => { clearDrawing(); readDrawing(); });
    if (content.examples.length) load(content.examples[0]);
    else readDrawing();
  }
  if (element("mistake-images")) {
    addImages(element("mistake-images"), content.mistakes, ({label, predicted}) => `${label} → ${predicted}`,
      ({label, predicted}) => `A ${label}, read as ${predicted}: load it`);
  }
  paintPictures();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    paintPictures();
    if (page.net) show(page.x);
  });
}

start();
