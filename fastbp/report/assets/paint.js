"use strict";
// Pictures of numbers on canvases, in the colours of the style sheet.

const colour = name => getComputedStyle(document.body).getPropertyValue(`--${name}`).trim();
const CELL = 8;  // pixels of a canvas for one number

/** Paint values, row by row, as squares: the stronger, the more opaque; scale: full opacity. */
function paintCells(canvas, values, columns, scale, gap = 0) {
  const rows = Math.ceil(values.length / columns), context = canvas.getContext("2d");
  canvas.width = columns * CELL;
  canvas.height = rows * CELL;
  const [positive, negative, empty] = ["positive", "negative", "empty"].map(colour);
  values.forEach((value, i) => {
    const square = [i % columns * CELL, Math.floor(i / columns) * CELL, CELL - gap, CELL - gap];
    if (gap) {
      context.globalAlpha = 1;
      context.fillStyle = empty;
      context.fillRect(...square);
    }
    context.globalAlpha = Math.min(Math.abs(value) / scale, 1);
    context.fillStyle = value < 0 ? negative : positive;
    context.fillRect(...square);
  });
}

/** Paint signed numbers as a square picture whose largest number has the full colour. */
function paintSigned(canvas, values) {
  paintCells(canvas, values, Math.sqrt(values.length), largest(values));
}

/** Paint the neurons of a layer, about four times as wide as high. */
function paintNeurons(canvas, values, scale) {
  paintCells(canvas, values, Math.ceil(Math.sqrt(4 * values.length)), scale, 1);
}

/** Paint an image of values 0..1 in ink. */
function paintDigit(canvas, values, side) {
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  context.fillStyle = colour("text");
  values.forEach((value, i) => {
    context.globalAlpha = Math.min(Math.max(value, 0), 1);
    context.fillRect(i % side, Math.floor(i / side), 1, 1);
  });
}

const largest = values => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0) || 1;
