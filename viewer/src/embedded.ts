/** The results that a page holds: heads as JSON, layers as safetensors in base64, decoded when they are looked at. */
import { decodeBase64, parse } from "./tensors";
import { Head, Part, Result, Verdict } from "./result";
import { listed } from "./numbers";

interface Described {
  head: Head;
  layers: number[];
  parts: Part[];
  held: Record<string, number[]>;
  verdict: Verdict | null;
}

export class EmbeddedResult extends Result {
  readonly parts: Part[];
  private waiting: Map<string, Element>;

  constructor(private readonly about: Described, place: number) {
    super(String(place), about.head, about.layers);
    this.parts = about.parts;
    this.verdict = about.verdict;
    this.waiting = new Map(
      [...document.querySelectorAll(`script[data-result="${place}"]`)].map((e) => [
        `${e.getAttribute("data-layer")} ${e.getAttribute("data-part")}`, e,
      ]),
    );
  }
  done(): boolean {
    return true;
  }
  missing(part: Part, layer: number): string | null {
    if (this.about.held[part]?.includes(layer)) return null;
    const others = this.layers.filter((l) => !this.about.held[part]?.includes(l));
    return this.parts.includes(part)
      ? `The ${part} maps of layers ${listed(others)} would make this file larger than 20 MB. They come with lig view FILE --layers ${layer} --maps ${part}, `
        + `or of a service with ?layers=${layer}&maps=${part} behind the result's address.`
      : `This result has no ${part} maps: ask for granularity “${part}”.`;
  }
  want(layer: number, part: Part): void {
    const key = `${layer} ${part}`, element = this.waiting.get(key);
    if (!element) return;
    this.waiting.delete(key);
    this.add(layer, parse(decodeBase64(element.textContent!), layer).layers.get(layer) ?? {});
    element.remove();
  }
}

/** What the page holds: results, and where there are two, which of their tokens are the same. */
export function embedded(): { results: Result[]; alignment: [number, number][] | null } {
  const described = JSON.parse(document.getElementById("results")?.textContent || "null");
  return {
    results: (described?.results ?? []).map((about: Described, place: number) => new EmbeddedResult(about, place)),
    alignment: described?.alignment ?? null,
  };
}
