/** What reached the pinned token, layer by layer, or what it reached: an edge is one entry of one layer's map. */
import { useMemo } from "preact/hooks";
import { Exports } from "./exports";
import { measured } from "./geometry";
import { useHover, useSize } from "./hooks";
import { percent, short } from "./numbers";
import { named } from "./result";
import { pin } from "./sentence";
import { go, point } from "./state";
import { Edge, trace, Trace } from "./trace";
import type { View } from "./view";

const LEFT = 38, RIGHT = 22, TOP = 30, STEP = 13;

export function Flow({ view }: { view: View }) {
  const [ref, { width, height }] = useSize<HTMLDivElement>(), { state, result, maps } = view;
  const pins = [state.pin, state.second].filter((t) => t >= 0 && t < result.labels.length);
  const rules = {
    k: state.k, least: state.least / 100, path: state.path / 100, hideSpecial: state.special, forward: state.forward,
  };
  const square = maps.every((m) => !m || m.rows === m.columns);
  const traces = useMemo(() => (square ? pins.map((t) => trace(result.layers, maps, t, rules)) : []),
    [result.version, result, view.name, view.head, JSON.stringify([pins, rules])]);
  const hidden = traces.reduce((sum, t) => sum + t.hidden, 0), edges = traces.reduce((sum, t) => sum + t.edges.length, 0);
  return (
    <section class="panel pane flow" aria-labelledby="flow-title">
      <header>
        <h2 id="flow-title">{state.forward ? "Flow from" : "Flow into"} {pins.length ? pins.map((t) => named(result.labels[t])).join(" and ") : "a token"}</h2>
        {pins.length && square ? <Exports of="flow" view={view} /> : null}
      </header>
      <div class="stage" ref={ref}>
        {!square ? <p class="empty">This map has no tokens for rows: no flow can be drawn from it.</p>
          : !pins.length ? <p class="empty">Press a token above, or a column of the map, to see {state.forward ? "what it feeds" : "what fed it"}, layer by layer.</p>
          : width > 60 ? <Drawing view={view} pins={pins} traces={traces} width={width} height={Math.max(260, height)} /> : null}
      </div>
      {pins.length && square ? (
        <p class="soft small note">
          {edges ? `${edges} edges, each one entry of one layer's map as a share of its column.` : "No entry is as large as asked for."}
          {hidden ? ` ${hidden} more lie on paths below ${state.path} % (product of shares, no certificate).` : ""}
        </p>
      ) : null}
    </section>
  );
}

interface Props { view: View; pins: number[]; traces: Trace[]; width: number; height: number }

function Drawing({ view, pins, traces, width, height }: Props) {
  const { result, state, layers } = { ...view, layers: view.result.layers };
  const reached = useMemo(() => {
    const weight = new Map<number, number>(pins.map((t) => [t, 2]));
    for (const { edges } of traces) for (const e of edges) for (const t of [e.source, e.target]) weight.set(t, Math.max(weight.get(t) ?? 0, e.product));
    return weight;
  }, [traces]);
  const room = Math.floor((width - LEFT - RIGHT) / STEP), count = result.labels.length;
  // A long text is cut to the tokens that were reached, the strongest of them where even those are too many.
  const tokens = count <= room ? result.labels.map((_, t) => t)
    : [...reached].sort((a, b) => b[1] - a[1]).slice(0, room).map(([t]) => t).sort((a, b) => a - b);
  const BOTTOM = 26 + 0.77 * Math.max(...tokens.map((t) => measured(clipped(result.labels[t].text), 11)));
  const place = new Map(tokens.map((t, k) => [t, LEFT + ((width - LEFT - RIGHT) * (k + 0.5)) / tokens.length]));
  const level = (k: number): number => height - BOTTOM - ((height - TOP - BOTTOM) * k) / layers.length;
  const high = (height - TOP - BOTTOM) / layers.length, thick = Math.min(8, high / 3);
  const at = new Map(layers.map((l, k) => [l, k]));
  const line = `M${LEFT} 0H${width - RIGHT}`;
  const dots = tokens.map((t) => `M${place.get(t)!.toFixed(1)} 0h0`).join("");
  const rows = [...layers.map((_, k) => k), layers.length];
  return (
    <svg id="flow" width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="group"
      aria-label={`Flow over ${layers.length} layers`} onPointerLeave={() => point(null)}>
      {layers.includes(view.layer) ? <rect class="band" x={0} width={width} y={level(at.get(view.layer)! + 1)} height={level(0) - level(1)} /> : null}
      {rows.map((k) => (
        <g key={k} transform={`translate(0 ${level(k)})`}>
          <path class="grid" d={line} />
          <path class="dots" d={dots} />
          {k === layers.length || (layers.length - k) % Math.ceil(13 / high) === 0 ? <text class="level" x={4} y={4}>{k === layers.length ? "out" : `z${layers[k]}`}</text> : null}
        </g>
      ))}
      <Guide place={place} top={TOP} bottom={height - BOTTOM} />
      {traces.map(({ edges, stems }, n) => (
        <g key={n} class={n ? "second" : "first"}>
          {stems.filter((s) => place.has(s.token)).map((s) => (
            <path key={`s${s.layer}`} class="stem" d={`M${place.get(s.token)} ${level(at.get(s.layer)!)}V${level(at.get(s.layer)! + 1)}`}>
              <title>{named(result.labels[s.token])} itself: its own term has no value here</title>
            </path>
          ))}
          {edges.filter((e) => place.has(e.source) && place.has(e.target)).sort((a, b) => Math.abs(a.share) - Math.abs(b.share)).map((e) => (
            <EdgeLine thick={thick} key={`${e.layer} ${e.source} ${e.target}`} e={e} view={view} from={[place.get(e.source)!, level(at.get(e.layer)!)]}
              to={[place.get(e.target)!, level(at.get(e.layer)! + 1)]} />
          ))}
        </g>
      ))}
      {pins.map((t, n) => (place.has(t) ? (
        <g key={t} class={n ? "second" : "first"}>
          <circle class="pin" r={5} cx={place.get(t)} cy={level(state.forward ? 0 : layers.length)} />
          <text class="pinned" text-anchor="middle" x={place.get(t)} y={TOP - 12}>{result.labels[t].text}</text>
        </g>
      ) : null))}
      <g class="names">
        {tokens.map((t, k) => (
          <text key={t} class={`${t === pins[0] ? "first" : t === pins[1] ? "second" : reached.has(t) ? "" : "far"}`}
            transform={`translate(${place.get(t)! + 3} ${height - BOTTOM + 16}) rotate(-50)`} text-anchor="end"
            onPointerEnter={() => point({ i: null, j: t })} onClick={(event) => pin(view, t, event.shiftKey)}>
            {k && t - tokens[k - 1] > 1 ? "… " : ""}{clipped(result.labels[t].text)}
          </text>
        ))}
      </g>
    </svg>
  );
}

const clipped = (text: string): string => ([...text].length > 12 ? `${[...text].slice(0, 11).join("")}…` : text);

function EdgeLine({ e, view, from, to, thick }: { thick: number; e: Edge; view: View; from: [number, number]; to: [number, number] }) {
  const [x, y] = from, [X, Y] = to, middle = (y + Y) / 2, { labels } = view.result;
  const said = `layer ${e.layer}: ${named(labels[e.source])} → ${named(labels[e.target])}, ${percent(e.share)} of the column (${short(e.value)})`;
  return (
    <path class={`edge${e.share < 0 ? " negative" : ""}${e.converged ? "" : " unconverged"}`} d={`M${x} ${y}C${x} ${middle} ${X} ${middle} ${X} ${Y}`}
      style={`stroke-width:${(0.75 + thick * Math.min(1, Math.abs(e.share))).toFixed(2)};opacity:${(0.35 + 0.6 * Math.min(1, Math.abs(e.share))).toFixed(2)}`}
      onClick={() => go({ layer: e.layer })}
      onPointerEnter={() => point({ i: e.source, j: e.target, layer: e.layer })}>
      <title>{said}{e.converged ? "" : " ▲ not converged"}</title>
    </path>
  );
}

function Guide({ place, top, bottom }: { place: Map<number, number>; top: number; bottom: number }) {
  const { i, j } = useHover();
  return <>{[i, j].map((t, n) => (t !== null && place.has(t) ? <path key={n} class="guide" d={`M${place.get(t)} ${top}V${bottom}`} /> : null))}</>;
}
