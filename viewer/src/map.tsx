/** The map of the layer: zoomed with the wheel or + and −, moved by dragging, read cell by cell with the arrow keys. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { drawMap, drawMarks } from "./draw";
import { Exports } from "./exports";
import { cellAt, FIT, Geometry, geometry, revealed, Zoom, zoomed } from "./geometry";
import { useSize } from "./hooks";
import { Legend } from "./legend";
import { Kind, TITLES } from "./maps";
import { Readout } from "./readout";
import { pin } from "./sentence";
import { onHover, point, pointed } from "./state";
import type { View } from "./view";

/** 0: fit. */
export const zoom = (factor: number): void => void dispatchEvent(new CustomEvent("lig-zoom", { detail: factor }));

export function MapPane({ view }: { view: View }) {
  const { drawn, state, layer, name, heads, head, missing, result } = view;
  const side = state.view === "compare" ? { a: "a · ", b: "b · ", d: "b − a · " }[state.side] ?? "" : "";
  return (
    <section class="panel pane" aria-labelledby="map-title">
      <header>
        <h2 id="map-title">{side}Layer {layer} · {TITLES[name]}{name === "att" && heads.length > 1 ? (head === "sum" ? ", all heads summed" : `, head ${head}`) : ""}</h2>
        {drawn ? <Exports of="map" view={view} /> : null}
      </header>
      <div class="line"><Readout view={view} />
        {drawn ? <span class="zoom" role="group" aria-label="Zoom">
          <button type="button" class="plain" aria-label="Zoom out" onClick={() => zoom(0.7)}>−</button>
          <button type="button" class="plain" aria-label="Fit the map" onClick={() => zoom(0)}>fit</button>
          <button type="button" class="plain" aria-label="Zoom in" onClick={() => zoom(1.4)}>+</button>
        </span> : null}</div>
      {drawn ? <Canvas view={view} /> : (
        <div class="stage"><p class="empty">{missing ?? (state.view === "compare" && view.map ? "Choose below what to compare with." : result.done(layer) ? "Loading…" : "This layer is not computed yet.")}</p></div>
      )}
      {drawn ? <Legend view={view} /> : null}
    </section>
  );
}

function Canvas({ view }: { view: View }) {
  const map = view.drawn!, { state, end } = view, ratio = Math.max(1, devicePixelRatio || 1);
  const [box, { width, height }] = useSize<HTMLDivElement>();
  const base = useRef<HTMLCanvasElement>(null), over = useRef<HTMLCanvasElement>(null);
  const [scroll, setZoom] = useState<Zoom>(FIT), cursor = useRef<{ i: number; j: number }>({ i: 0, j: 0 });
  const g = geometry(map, width, height, ratio, scroll), latest = useRef<Geometry>(g), drag = useRef<{ x: number; y: number; from: Geometry; moved: boolean } | null>(null);
  latest.current = g;
  useEffect(() => setZoom(FIT), [map.rows.length, map.columns.length]);
  useEffect(() => {
    const fit = (e: Event): void => {
      const factor = (e as CustomEvent<number>).detail, { width: w, height: h, ratio: r } = latest.current;
      setZoom(factor ? zoomed(latest.current, factor, w / r / 2, h / r / 2) : FIT);
    };
    addEventListener("lig-zoom", fit);
    return () => removeEventListener("lig-zoom", fit);
  }, []);
  const marks = (): void => {
    const { i, j } = pointed(), pen = over.current?.getContext("2d");
    const rows = map.rows === map.columns || (i ?? 0) < map.rows.length;
    if (pen) drawMarks(pen, latest.current, map, { i: rows ? i : null, j, pin: state.pin < map.columns.length ? state.pin : -1, second: state.second < map.columns.length ? state.second : -1 });
  };
  useLayoutEffect(() => {
    for (const canvas of [base.current!, over.current!]) {
      if (canvas.width !== g.width) canvas.width = g.width;
      if (canvas.height !== g.height) canvas.height = g.height;
    }
    if (!width || !height) return;
    drawMap(base.current!.getContext("2d")!, g, map, end, state.share);
    marks();
  });
  useEffect(() => onHover(marks), [map, state.pin, state.second, state.side]);
  const place = (e: MouseEvent): [number, number] => {
    const r = over.current!.getBoundingClientRect();
    return [e.clientX - r.left, e.clientY - r.top];
  };
  useEffect(() => {
    const canvas = over.current!, wheel = (e: WheelEvent): void => {
      const now = latest.current;
      if (e.ctrlKey || e.metaKey) setZoom(zoomed(now, e.deltaY < 0 ? 1.2 : 1 / 1.2, ...place(e)));
      else {
        const next = { cell: now.cell, x: now.x + e.deltaX * ratio, y: now.y + e.deltaY * ratio };
        const clamped = geometry(map, width, height, ratio, next);
        if (clamped.x === now.x && clamped.y === now.y) return; // the page scrolls on where the map has ended
        setZoom(next);
      }
      e.preventDefault();
    };
    canvas.addEventListener("wheel", wheel, { passive: false });
    return () => canvas.removeEventListener("wheel", wheel);
  }, [map, width, height]);
  const move = (i: number, j: number): void => {
    cursor.current = { i: Math.max(0, Math.min(map.rows.length - 1, i)), j: Math.max(0, Math.min(map.columns.length - 1, j)) };
    const { i: row, j: column } = cursor.current;
    point(cursor.current);
    const shown = revealed(latest.current, row, column);
    if (shown.x !== latest.current.x || shown.y !== latest.current.y) setZoom(shown);
  };
  const press = (e: KeyboardEvent): void => {
    const { i, j } = cursor.current, wide = map.columns.length - 1;
    const act: Record<string, () => void> = {
      ArrowUp: () => move(i - 1, j), ArrowDown: () => move(i + 1, j), ArrowLeft: () => move(i, j - 1), ArrowRight: () => move(i, j + 1),
      Home: () => move(i, 0), End: () => move(i, wide), Enter: () => pin(view, j, e.shiftKey), " ": () => pin(view, j, e.shiftKey),
      "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8),
    };
    if (!act[e.key] || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    act[e.key]();
  };
  const masked = map.rows.length > 1 && map.kind(map.rows.length - 1, 0) === Kind.Masked;
  return (
    <div class="stage" ref={box}>
      <canvas ref={base} id="cells" aria-hidden="true" data-left={g.left} data-top={g.top} data-cell={g.cell} data-x={g.x} data-y={g.y} data-end={end} />
      <canvas ref={over} id="map" tabIndex={0} role="application" aria-roledescription="heat map" aria-labelledby="map-title" aria-describedby="readout"
        aria-label={`${map.rows.length} rows by ${map.columns.length} targets${masked ? ", causal" : ""}`}
        onKeyDown={press} onFocus={() => { if (pointed().j === null) move(cursor.current.i, state.pin >= 0 ? state.pin : cursor.current.j); }}
        onPointerDown={(e) => { drag.current = { x: e.clientX, y: e.clientY, from: g, moved: false }; }}
        onPointerMove={(e) => {
          const d = drag.current;
          if (d && e.buttons) {
            const [dx, dy] = [(d.x - e.clientX) * ratio, (d.y - e.clientY) * ratio];
            if (Math.abs(dx) + Math.abs(dy) > 6) d.moved = true;
            if (d.moved) setZoom({ cell: d.from.cell, x: d.from.x + dx, y: d.from.y + dy });
            return;
          }
          point(cellAt(latest.current, map, ...place(e)));
        }}
        onPointerUp={(e) => {
          const at = cellAt(latest.current, map, ...place(e)), moved = drag.current?.moved;
          drag.current = null;
          if (!at || moved || at.j === null) return;
          cursor.current = { i: at.i ?? 0, j: at.j };
          pin(view, at.j, e.shiftKey);
        }}
        onPointerLeave={() => { drag.current = null; point(null); }} />
    </div>
  );
}
