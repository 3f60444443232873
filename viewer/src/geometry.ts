/** Where the cells of a map lie on its canvas, in pixels of the device: whole ones, so that every cell is drawn. */
import type { MapView } from "./maps";
import { present } from "./numbers";

export interface Geometry {
  ratio: number;
  width: number;
  height: number;
  left: number;
  top: number;
  cell: number;
  /** Pixels of the map that are scrolled away. */
  x: number;
  y: number;
  font: number;
  /** Names of targets lie flat where they all fit. */
  flat: boolean;
}
export interface Zoom { cell: number; x: number; y: number }
export const FIT: Zoom = { cell: 0, x: 0, y: 0 };
const LONGEST = 96, LARGEST = 44;
export const FAMILY = 'system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif';

const pen = document.createElement("canvas").getContext("2d")!;
export const measured = (text: string, font: number): number => {
  pen.font = `${font}px ${FAMILY}`;
  return pen.measureText(text).width;
};

/** A target's name beside the map, with a mark where its column has not converged. */
export const heading = (map: MapView, j: number): string => `${map.converged[j] === false ? "▲ " : ""}${map.columns[j].text}`;

export function geometry(map: MapView, width: number, height: number, ratio: number, zoom: Zoom): Geometry {
  const [w, h] = [Math.floor(width * ratio), Math.floor(height * ratio)], font = Math.round(11 * ratio);
  const longest = (names: string[]): number => Math.min(LONGEST * ratio, Math.max(...names.map((name) => measured(name, font)))) + 10 * ratio;
  const left = Math.ceil(longest(map.rows.map((row) => row.text))), wide = longest(map.columns.map((_, j) => heading(map, j)));
  const fitting = (top: number): number => Math.floor(Math.min((w - left - 1) / map.columns.length, (h - top - 1) / map.rows.length, LARGEST * ratio));
  const low = Math.ceil(22 * ratio), flat = zoom.cell === 0 && fitting(low) > wide;
  const top = flat ? low : Math.ceil(wide);
  const cell = Math.max(1, zoom.cell || fitting(top));
  const most = (count: number, room: number): number => Math.max(0, count * cell - room);
  return {
    ratio, width: w, height: h, left, top, cell, font, flat,
    x: Math.max(0, Math.min(most(map.columns.length, w - left), Math.round(zoom.x))),
    y: Math.max(0, Math.min(most(map.rows.length, h - top), Math.round(zoom.y))),
  };
}

/** The cell at a place on the canvas, in CSS pixels. */
export function cellAt(g: Geometry, map: MapView, x: number, y: number): { i: number | null; j: number | null } | null {
  const [px, py] = [x * g.ratio, y * g.ratio];
  const j = px < g.left ? null : Math.floor((px - g.left + g.x) / g.cell), i = py < g.top ? null : Math.floor((py - g.top + g.y) / g.cell);
  if ((j !== null && j >= map.columns.length) || (i !== null && i >= map.rows.length) || (i === null && j === null)) return null;
  return { i, j };
}

/** Zoomed about a place that stays where it is. */
export function zoomed(g: Geometry, factor: number, x: number, y: number): Zoom {
  const cell = Math.max(1, Math.min(64 * g.ratio, factor > 1 ? Math.ceil(g.cell * factor) : Math.floor(g.cell * factor)));
  const hold = (place: number, edge: number, scrolled: number): number => ((place * g.ratio - edge + scrolled) / g.cell) * cell - (place * g.ratio - edge);
  return { cell, x: hold(x, g.left, g.x), y: hold(y, g.top, g.y) };
}

/** Scrolled so that a cell shows. */
export function revealed(g: Geometry, i: number | null, j: number | null): Zoom {
  const into = (at: number | null, scrolled: number, room: number): number =>
    !present(at) ? scrolled : Math.min(at * g.cell, Math.max(scrolled, (at + 1) * g.cell - room));
  return { cell: g.cell, x: into(j, g.x, g.width - g.left), y: into(i, g.y, g.height - g.top) };
}
