/** Draws a map on a canvas: cells, names, marks. */
import { cells } from "./canvas";
import { palette } from "./colours";
import { FAMILY, Geometry, heading } from "./geometry";
import { Kind, MapView } from "./maps";

export interface Marks { i: number | null; j: number | null; pin: number; second: number }

export function drawMap(pen: CanvasRenderingContext2D, g: Geometry, map: MapView, end: number, shares: boolean): void {
  const p = palette(), { columns, rows } = map;
  pen.clearRect(0, 0, g.width, g.height);
  pen.save();
  pen.beginPath();
  pen.rect(g.left, g.top, g.width - g.left, g.height - g.top);
  pen.clip();
  pen.imageSmoothingEnabled = false;
  pen.drawImage(cells(map, end, shares), g.left - g.x, g.top - g.y, columns.length * g.cell, rows.length * g.cell);
  if (g.cell >= 6 * g.ratio) marks(pen, g, map, p.soft);
  pen.restore();
  for (const [labels, across] of [[rows, false], [columns, true]] as const) {
    const step = Math.ceil((11 * g.ratio) / g.cell);
    for (let k = 0; k < labels.length; k += step) name(pen, g, map, k, across, labels[k].special ? p.soft : p.ink, null);
  }
}

/** A stroke through what is masked, a dot in what is 0 by definition: not by colour alone. */
function marks(pen: CanvasRenderingContext2D, g: Geometry, map: MapView, colour: string): void {
  const range = (scrolled: number, room: number, count: number): [number, number] =>
    [Math.floor(scrolled / g.cell), Math.min(count, Math.ceil((scrolled + room) / g.cell))];
  const [j0, j1] = range(g.x, g.width - g.left, map.columns.length), [i0, i1] = range(g.y, g.height - g.top, map.rows.length);
  pen.strokeStyle = pen.fillStyle = colour;
  pen.globalAlpha = 0.55;
  pen.lineWidth = g.ratio;
  pen.beginPath();
  for (let i = i0; i < i1; i++) {
    for (let j = j0; j < j1; j++) {
      const kind = map.kind(i, j), x = g.left - g.x + j * g.cell, y = g.top - g.y + i * g.cell;
      if (kind === Kind.Masked) {
        pen.moveTo(x + 0.3 * g.cell, y + 0.7 * g.cell);
        pen.lineTo(x + 0.7 * g.cell, y + 0.3 * g.cell);
      } else if (kind === Kind.Definition) pen.fillRect(Math.round(x + g.cell / 2 - g.ratio), Math.round(y + g.cell / 2 - g.ratio), 2 * g.ratio, 2 * g.ratio);
    }
  }
  pen.stroke();
  pen.globalAlpha = 1;
}

/** The name of a row or a target beside the map; the two stay in place while the map is scrolled. */
function name(pen: CanvasRenderingContext2D, g: Geometry, map: MapView, k: number, across: boolean, ink: string, paper: string | null): void {
  const middle = (k + 0.5) * g.cell + (across ? g.left - g.x : g.top - g.y);
  if (middle < (across ? g.left : g.top) || middle > (across ? g.width : g.height)) return;
  const label = (across ? map.columns : map.rows)[k], failed = across && map.converged[k] === false, gap = 5 * g.ratio;
  pen.save();
  pen.font = `${label.special ? "italic " : ""}${g.font}px ${FAMILY}`;
  pen.textBaseline = "middle";
  const room = across && g.flat ? g.cell : (across ? g.top : g.left) - gap - 2 * g.ratio;
  let text = across ? heading(map, k) : label.text;
  while (pen.measureText(text).width > room && text.length > 1) text = `${[...text].slice(0, -2).join("")}…`;
  if (across && !g.flat) {
    pen.translate(middle, g.top - gap);
    pen.rotate(-Math.PI / 2);
  } else if (across) pen.translate(middle, g.top - 9 * g.ratio);
  else pen.translate(g.left - gap, middle);
  pen.textAlign = across ? (g.flat ? "center" : "left") : "right";
  const width = pen.measureText(text).width + 6 * g.ratio, start = pen.textAlign === "left" ? -3 * g.ratio : pen.textAlign === "right" ? 3 * g.ratio - width : -width / 2;
  if (paper) {
    pen.fillStyle = paper;
    pen.fillRect(start, -8 * g.ratio, width, 16 * g.ratio);
  }
  pen.fillStyle = failed && !paper ? palette().warn : ink;
  pen.fillText(text, 0, 0);
  pen.restore();
}

/** What moves with the pointer, on a canvas of its own. */
export function drawMarks(pen: CanvasRenderingContext2D, g: Geometry, map: MapView, m: Marks): void {
  const p = palette(), { columns, rows } = map, wide = Math.min(columns.length * g.cell - g.x, g.width - g.left), high = Math.min(rows.length * g.cell - g.y, g.height - g.top);
  pen.clearRect(0, 0, g.width, g.height);
  pen.save();
  pen.beginPath();
  pen.rect(g.left - g.ratio, g.top - g.ratio, wide + 2 * g.ratio, high + 2 * g.ratio);
  pen.clip();
  const frame = (i: number | null, j: number | null, colour: string, line: number): void => {
    pen.strokeStyle = colour;
    pen.lineWidth = line * g.ratio;
    pen.strokeRect(j === null ? g.left - g.x : g.left - g.x + j * g.cell, i === null ? g.top - g.y : g.top - g.y + i * g.cell,
      j === null ? columns.length * g.cell : g.cell, i === null ? rows.length * g.cell : g.cell);
  };
  if (m.pin >= 0) frame(null, m.pin, p.accent, 1.75);
  if (m.second >= 0) frame(null, m.second, p.second, 1.75);
  if (m.i !== null) frame(m.i, null, p.ink, 1);
  if (m.j !== null) frame(null, m.j, p.ink, 1);
  if (m.i !== null && m.j !== null) frame(m.i, m.j, p.ink, 2.5);
  pen.restore();
  for (const [token, paper] of [[m.second, p.second], [m.pin, p.accent], [m.j, p.ink]] as const) {
    if (token !== null && token >= 0) name(pen, g, map, token, true, p.panel, paper);
  }
  if (m.i !== null) name(pen, g, map, m.i, false, p.panel, p.ink);
}
