/** What can be taken along: pictures of what is drawn, and its numbers. */
import { cells } from "./canvas";
import { palette } from "./colours";
import { FAMILY, heading } from "./geometry";
import { share } from "./maps";
import type { View } from "./view";

export function Exports({ of, view }: { of: "flow" | "map"; view: View }) {
  const picture = (): string => (of === "flow" ? flowSvg() : mapSvg(view));
  const file = `lig-${of}-layer-${view.layer}`;
  return (
    <span class="exports" role="group" aria-label={`Save the ${of}`}>
      <button type="button" class="plain" onClick={() => save(picture(), `${file}.svg`, "image/svg+xml")}>SVG</button>
      <button type="button" class="plain" onClick={() => png(picture()).then((blob) => save(blob, `${file}.png`, "image/png"))}>PNG</button>
      {of === "map" ? <>
        <button type="button" class="plain" onClick={() => save(csv(view), `${file}.csv`, "text/csv")}>CSV</button>
        <button type="button" class="plain" onClick={() => save(json(view), `${file}.json`, "application/json")}>JSON</button></> : null}
    </span>
  );
}

function save(content: string | Blob, name: string, type: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

const WRITTEN = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity", "font-size", "font-family", "font-weight"];
/** The drawing with its styles written into every element, for a file has no style sheet. */
function flowSvg(): string {
  const drawing = document.getElementById("flow")!, copy = drawing.cloneNode(true) as SVGElement;
  const [from, to] = [drawing, copy].map((e) => [e, ...e.querySelectorAll("*")]);
  from.forEach((element, k) => {
    const style = getComputedStyle(element);
    for (const name of WRITTEN) to[k].setAttribute(name, style.getPropertyValue(name).replaceAll('"', "'"));
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const { width, height } = drawing.getBoundingClientRect();
  return new XMLSerializer().serializeToString(copy).replace(/(<svg[^>]*>)/, `$1<rect width="${width}" height="${height}" fill="${palette().panel}"/>`);
}

/** Cells as one picture, names as text. */
function mapSvg({ drawn, end, state }: View): string {
  const map = drawn!, p = palette(), size = Math.max(4, Math.min(20, Math.floor(900 / map.columns.length))), font = Math.min(12, Math.max(4, size * 0.8));
  const left = 120, top = 120, width = left + size * map.columns.length + 10, height = top + size * map.rows.length + 10;
  const text = (x: number, y: number, label: string, more: string): string => `<text x="${x}" y="${y}" ${more}>${escaped(label)}</text>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family='${FAMILY.replaceAll('"', "")}' font-size="${font}" fill="${p.ink}">`
    + `<rect width="100%" height="100%" fill="${p.panel}"/><image x="${left}" y="${top}" width="${size * map.columns.length}" height="${size * map.rows.length}" style="image-rendering:pixelated" href="${cells(map, end, state.share).toDataURL()}"/>`
    + map.rows.map((r, i) => text(left - 6, top + (i + 0.5) * size + font * 0.35, r.text, 'text-anchor="end"')).join("")
    + map.columns.map((_, j) => text(0, 0, heading(map, j), `transform="translate(${left + (j + 0.5) * size + font * 0.35} ${top - 6}) rotate(-90)"`)).join("")
    + "</svg>";
}

async function png(svg: string): Promise<Blob> {
  const image = new Image(), canvas = document.createElement("canvas");
  image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
  await image.decode();
  [canvas.width, canvas.height] = [2 * image.width, 2 * image.height];
  canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(blob!)));
}

const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`;

function csv({ drawn }: View): string {
  const map = drawn!, lines = ["source,source_token,target,target_token,value,share,converged"];
  for (let i = 0; i < map.rows.length; i++) {
    for (let j = 0; j < map.columns.length; j++) {
      const value = map.values[i * map.columns.length + j];
      if (!Number.isNaN(value)) lines.push(`${i},${quoted(map.rows[i].raw ?? map.rows[i].text)},${j},${quoted(map.columns[j].raw)},${value},${share(map, i, j)},${map.converged[j]}`);
    }
  }
  return `${lines.join("\r\n")}\r\n`;
}

function json({ drawn, result, layer, name, head, state }: View): string {
  const map = drawn!, count = map.columns.length, list = (a: ArrayLike<number> | undefined): (number | null)[] | undefined => a && Array.from(a, (x) => (Number.isNaN(x) ? null : x));
  return JSON.stringify({
    text: result.head.text, tokens: result.head.tokens, model: result.head.model, layer, map: name, ...(name === "att" ? { head } : {}),
    ...(state.view === "compare" ? { side: { a: "a", b: "b", d: "b - a" }[state.side], b: state.b } : {}),
    sources: map.rows.map((r) => r.raw ?? r.text), matrix: map.rows.map((_, i) => list(map.values.subarray(i * count, (i + 1) * count))),
    certificate: { total: list(map.total), completeness_error: list(map.error), entry_error: list(map.entries), nodes: list(map.nodes), converged: map.converged, status: map.status },
    config: result.head.config, receipt: result.head.receipt,
  });
}
