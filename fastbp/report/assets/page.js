"use strict";
// The page: its state, and the elements that it is made of.

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
    const item = add(group, "button", {type: "button", className: "image"});
    item.ariaLabel = labelOf(image);
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
    const button = add(element("outputs"), "button", {type: "button"});
    for (const name of ["name", "bar", "value", "delta"]) add(button, "span", {className: name});
    button.firstChild.textContent = nOut > 1 ? j : "a";
    button.addEventListener("click", () => choose(j));
  }
  listenToArrows(element("outputs"));
}

/** Add everything about the network, and let it read the first example. */
function startDrawing() {
  page.net = readNetwork(content.network);
  const describe = (l, {nOut, activation}) => `Layer ${l}: ${nOut} ${activation} neurons`;
  addLayers(element("hidden-layers"), describe);
  addLayers(element("deltas"), (l, {nOut}) => `δ of the ${nOut} neurons of layer ${l}`);
  addOutputs();
  addImages(element("examples"), content.examples, () => "", ({label}) => `Load a ${label}`);
  for (let j = 0; j < Math.min(page.net.sizes[1], content.pictures); j++) {
    add(element("weight-images"), "canvas");
  }
  listenToPointer(element("canvas"), readDrawing);
  element("clear").addEventListener("click", () => { clearDrawing(); readDrawing(); });
  if (content.examples.length) load(content.examples[0]);
  else readDrawing();
}

if (content.network) startDrawing();
if (element("mistake-images")) {
  addImages(element("mistake-images"), content.mistakes,
    ({label, predicted}) => `${label} → ${predicted}`,
    ({label, predicted}) => `A ${label}, classified as ${predicted}: load it`);
}
paintPictures();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  paintPictures();
  if (page.net) show(page.x);
});
