"""Flow across layers: the maps of a result as shares, chained. Imports no torch.

shares         one map of each layer as shares of its columns; what of a token is its own; rollout
strongest      the strongest paths through such shares, and as many as asked for
strong_paths   the same through single heads, in the authors' format
concentration  how wide the columns are, by layer and head: entropy, distance, self share
graph          the flow as a networkx graph, GraphML, node-link JSON
account        all of it as one JSON document

    from lig_core.flow import Flow
    flow = Flow.of(explain(text, granularity="layer", baseline_layer="itb_zero_ratio"))
    flow.rollout()[-1]              # [source, target]: from the first layer's tokens to the last one's
    flow.paths(target=6, top=5)

Every entry of a map is certified with its column. A product of entries is not, and no path or rollout says it were.
"""

from lig_core.flow.concentration import concentration
from lig_core.flow.graph import graph
from lig_core.flow.shares import Flow
from lig_core.flow.strong_paths import strong_paths
from lig_core.flow.strongest import Path, Step

__all__ = ["Flow", "Path", "Step", "concentration", "graph", "strong_paths"]
