/** The layers, the last at the top: a small map of each, drawn the moment it comes. */
import { useLayoutEffect, useRef } from "preact/hooks";
import { cells } from "./canvas";
import { palette } from "./colours";
import { limit, MapView } from "./maps";
import { go } from "./state";
import type { View } from "./view";

export function Strip({ view }: { view: View }) {
  const { result, maps, layer, state } = view, ref = useRef<HTMLElement>(null);
  useLayoutEffect(() => {
    const box = ref.current!, chosen = box.querySelector<HTMLElement>("[aria-pressed=true]");
    if (!chosen) return;
    const [room, at] = [box.getBoundingClientRect(), chosen.getBoundingClientRect()];
    box.scrollBy(Math.min(0, at.left - room.left) + Math.max(0, at.right - room.right), Math.min(0, at.top - room.top) + Math.max(0, at.bottom - room.bottom));
  }, [layer, result]);
  return (
    <nav ref={ref} class="strip panel" aria-label="Layers">
      {result.layers.map((each, k) => {
        const map = maps[k], bad = map?.converged.filter((c) => c === false).length ?? 0;
        return (
          <button key={each} class={`thumb${map ? "" : result.done(each) ? " here" : " waiting"}`} aria-pressed={each === layer}
            aria-label={`Layer ${each}${map ? "" : result.done(each) ? ", not loaded" : ", not computed yet"}${bad ? `, ${bad} targets not converged` : ""}`}
            onClick={() => go({ layer: each })}>
            {map ? <Thumb map={map} view={view} /> : <i />}
            <span>{bad ? <b class="warn">▲</b> : null}{each}</span>
          </button>
        );
      }).reverse()}
      <span class="vertical soft small" aria-hidden="true">{state.share ? "share of column" : "layers"}</span>
    </nav>
  );
}

export function Thumb({ map, view, size = 144, marked = -1 }: { map: MapView; view: View; size?: number; marked?: number }) {
  const ref = useRef<HTMLCanvasElement>(null), { state } = view;
  const end = limit(map, state.scale / 100, state.share, state.special);
  const picture = cells(map, end, state.share);
  useLayoutEffect(() => {
    const canvas = ref.current!, pen = canvas.getContext("2d")!;
    canvas.width = size;
    canvas.height = size;
    pen.imageSmoothingEnabled = picture.width > size;
    pen.drawImage(picture, 0, 0, size, size);
    if (marked < 0) return;
    const wide = size / map.columns.length;
    pen.strokeStyle = palette().accent;
    pen.lineWidth = 2;
    pen.strokeRect(marked * wide, 1, wide, size - 2);
  }, [picture, size, marked]);
  return <canvas ref={ref} aria-hidden="true" />;
}
