/** The cells of a map: one pixel each, in a picture of its own that every view scales as it needs. */
import { colour, palette } from "./colours";
import { Kind, MapView } from "./maps";

export interface Cells {
  picture: HTMLCanvasElement;
  end: number;
}
const drawn = new WeakMap<MapView, Map<string, HTMLCanvasElement>>();

export function cells(map: MapView, end: number, shares: boolean): HTMLCanvasElement {
  const p = palette(), key = `${end} ${shares} ${p.panel}`;
  let kept = drawn.get(map);
  if (!kept) drawn.set(map, (kept = new Map()));
  let canvas = kept.get(key);
  if (canvas) return canvas;
  canvas = document.createElement("canvas");
  const width = (canvas.width = map.columns.length), height = (canvas.height = map.rows.length);
  const pen = canvas.getContext("2d")!, image = pen.createImageData(width, height), pixels = image.data;
  for (let i = 0, at = 0; i < height; i++) {
    for (let j = 0; j < width; j++, at += 4) {
      const kind = map.kind(i, j);
      if (kind === Kind.Absent) continue;
      const x = map.values[i * width + j] / (shares ? map.total[j] : 1);
      const [r, g, b] = kind === Kind.Masked ? p.masked : kind === Kind.Definition ? p.definition : colour(p, x || 0, end);
      pixels[at] = r; pixels[at + 1] = g; pixels[at + 2] = b; pixels[at + 3] = 255;
    }
  }
  pen.putImageData(image, 0, 0);
  kept.clear();
  kept.set(key, canvas);
  return canvas;
}
