/** What components share: the state, a size that follows the page, what is pointed at. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { RefObject } from "preact";
import { Hover, onHover, pointed } from "./state";

export function useSize<E extends Element>(): [RefObject<E>, { width: number; height: number }] {
  const ref = useRef<E>(null), [size, set] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => {
      const { width, height } = entry.contentRect;
      set((old) => (old.width === width && old.height === height ? old : { width, height }));
    });
    observer.observe(ref.current!);
    return () => observer.disconnect();
  }, []);
  return [ref, size];
}

export function useHover(): Hover {
  const [hover, set] = useState(pointed);
  useEffect(() => onHover(set), []);
  return hover;
}
