"use strict";
// The drawing area: pointer strokes, and the image that the network reads of them.

/** Return {ink, height, width} of the drawing area: 0..1, row by row. */
function inkOf(canvas) {
  const {width, height} = canvas;
  const rgba = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const ink = Array.from({length: width * height}, (_, i) => rgba[4 * i + 3] / 255);
  return {ink, height, width};
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
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => { from = null; });
  }
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
