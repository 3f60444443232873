/** What feeds the pinned token at this layer, with exact values, and the certificate. */
import { useMemo, useState } from "preact/hooks";
import { useHover } from "./hooks";
import { Kind, MapView, isUnknown, share } from "./maps";
import { digits, listed, percent, plural, present, small } from "./numbers";
import { named } from "./result";
import { go, point } from "./state";
import type { View } from "./view";

const STRONGEST = 10;

export function Inspector({ view }: { view: View }) {
  const { drawn, state, layer, result } = view;
  const pins = [state.pin, state.second].filter((t) => t >= 0 && t < result.labels.length && (drawn ? t < drawn.columns.length : true));
  return (
    <aside class="panel inspector" aria-label="Inspector">
      {drawn && pins.map((t, n) => <Column key={n} map={drawn} target={t} layer={layer} second={n > 0} />)}
      {drawn && !pins.length ? <section><h2>Strongest sources</h2><p class="soft small">Pin a target to see what feeds it. It stays pinned from layer to layer; with Shift you pin a second one.</p></section> : null}
      {drawn ? <Certificate map={drawn} view={view} /> : null}
      <Receipt view={view} />
    </aside>
  );
}

function Column({ map, target, layer, second }: { map: MapView; target: number; layer: number; second: boolean }) {
  const [all, setAll] = useState(false), { i } = useHover(), count = map.columns.length;
  const value = (row: number): number => map.values[row * count + target];
  const order = useMemo(() => map.rows.map((_, row) => row).filter((row) => !Number.isNaN(value(row)) && map.kind(row, target) !== Kind.Masked)
    .sort((a, b) => Math.abs(value(b)) - Math.abs(value(a))), [map, target]);
  const listing = all ? order : order.slice(0, STRONGEST), rest = order.slice(listing.length);
  const largest = Math.max(...order.map((row) => Math.abs(value(row))), 0) || 1;
  const failed = map.converged[target] === false;
  return (
    <section class={second ? "second" : "first"}>
      <header><h2>{map.difference ? "b − a into" : "Into"} {named(map.columns[target])}, layer {layer}</h2>
        <button type="button" class="plain" onClick={() => go(second ? { second: -1 } : { pin: -1 })}>unpin</button></header>
      <p class="soft small number">total {digits(map.total[target])}
        {map.error ? <> · error {small(map.error[target])}</> : null}
        {map.entries && present(map.entries[target]) ? <> · entries ≈ {small(map.entries[target])}</> : null}
        {map.nodes ? <> · {map.nodes[target]} nodes</> : null}
        {map.status?.[target] && map.status[target] !== "ok" ? <> · {map.status[target]}</> : null}
        {map.diagnostic ? <> · ‖layer − composed‖ {digits(map.diagnostic.distance[target], 3)}, Pearson {digits(map.diagnostic.pearson[target], 3)}</> : null}
        {isUnknown(map, target) ? <b class="warn"> not known</b> : null}
        {failed ? <b class="warn"> ▲ not converged</b> : null}</p>
      <ol class="bars">
        {listing.map((row) => (
          <li key={row} class={row === i ? "near" : ""} onPointerEnter={() => point({ i: row, j: target })}>
            <span class="name" title={map.rows[row].raw}>{map.rows[row].text}{map.rows[row].index === undefined ? null : <small> {row}</small>}</span>
            <span class="track"><i class={value(row) < 0 ? "negative" : ""} style={`width:${(100 * Math.abs(value(row))) / largest}%`} /></span>
            <span class="number">{map.kind(row, target) === Kind.Definition ? "by def." : digits(value(row), 5)}</span>
            <span class="number soft">{map.difference ? "" : percent(share(map, row, target))}</span>
          </li>
        ))}
        {rest.length ? <li class="soft"><span class="name">{plural(rest.length, "other")}</span><span class="track" />
          <span class="number">{digits(rest.reduce((s, r) => s + value(r), 0), 5)}</span>
          <span class="number">{map.difference ? "" : percent(rest.reduce((s, r) => s + value(r), 0) / map.total[target])}</span></li> : null}
      </ol>
      {order.length > STRONGEST ? <button type="button" class="plain" onClick={() => setAll(!all)}>{all ? `the ${STRONGEST} strongest` : `all ${order.length}`}</button> : null}
    </section>
  );
}

function Certificate({ map, view }: { map: MapView; view: View }) {
  const targets = map.converged.map((c, j) => [c, j] as const).filter(([c]) => c !== null).map(([, j]) => j);
  const failed = targets.filter((j) => !map.converged[j]), unknown = targets.filter((j) => isUnknown(map, j));
  const worst = (column: Float64Array): number => targets.reduce((most, j) => Math.max(most, column[j] || 0), 0);
  const nodes = map.nodes && targets.length ? [targets.reduce((m, j) => Math.min(m, map.nodes![j]), Infinity), worst(map.nodes)] : null;
  const mean = (column: Float64Array): number => {
    const known = targets.map((j) => column[j]).filter(present);
    return known.reduce((s, x) => s + x, 0) / known.length;
  };
  return (
    <section id="certificate">
      <h2>Certificate</h2>
      <p class={`small ${failed.length ? "warn" : "good"}`} id="summary">{failed.length
        ? `▲ ${failed.length} of ${plural(targets.length, "target")} not converged: ${listed(failed)}`
        : `✓ all ${plural(targets.length, "target")} converged`}</p>
      {unknown.length ? <p class="small warn" id="unknown">{plural(unknown.length, "column")} not known: {listed(unknown)}</p> : null}
      <p class="small soft number">
        {map.error ? <>worst completeness error {small(worst(map.error))}<br /></> : null}
        {map.entries && targets.every((j) => present(map.entries![j])) ? <>worst estimate of entry errors {small(worst(map.entries))}<br /></> : null}
        {nodes ? <>{nodes[0] === nodes[1] ? nodes[0] : `${nodes[0]}–${nodes[1]}`} nodes{view.result.head.config?.rtol ? `, rtol ${Number(view.result.head.config.rtol).toExponential()}` : ""}<br /></> : null}
        {map.diagnostic ? <>mean ‖layer − composed‖ {digits(mean(map.diagnostic.distance), 3)}, normalised {digits(mean(map.diagnostic.normalised), 3)}, mean Pearson {digits(mean(map.diagnostic.pearson), 3)}</> : null}
      </p>
      <p class="small soft">{map.diagnostic ? "Converged: every map that is composed or compared with met its tolerance, and so does what is made of them. A column of the conserving composition is not known where heads in which only rounding moves, or whose contributions cancel to that, would pass on too much of it."
        : "A column sums to its total up to the completeness error. This is about the integral of one layer at its z: neither rounding of z nor products along a path have a certificate."}</p>
    </section>
  );
}

function Receipt({ view }: { view: View }) {
  const { head } = view.result;
  return (
    <>
      {([["Receipt", head.receipt], ["Configuration", head.config], ["Boundaries", head.boundaries]] as const).filter(([, value]) => value && Object.keys(value).length)
        .map(([name, value]) => <details key={name}><summary>{name}</summary><Record value={value} /></details>)}
    </>
  );
}

function Record({ value }: { value: any }) {
  if (Array.isArray(value)) return <>{value.length && value.every(Number.isInteger) ? listed(value) : value.map((x) => (typeof x === "object" ? JSON.stringify(x) : x)).join(", ") || "—"}</>;
  if (value === null || typeof value !== "object") return <>{String(value ?? "—")}</>;
  return <dl class="record small">{Object.entries(value).map(([key, inner]) => <div key={key}><dt>{key.replaceAll("_", " ")}</dt><dd><Record value={inner} /></dd></div>)}</dl>;
}
