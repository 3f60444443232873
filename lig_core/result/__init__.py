"""A result once it is computed: arrays layer by layer, and everything that is made of them. Imports no torch.

arrays     LayerArrays, one layer's maps; Result, a head with layers that are loaded one at a time
words      contributions summed into words
select     slices: some layers, targets, heads, maps; the largest contributions alone
render     the JSON document of a layer
plain      documents as text, and as dicts that make what is read of them
verdict    whether all columns converged, how each ended, and where some did not
read       a JSON document back into arrays
formats    whole results as JSON, NDJSON, npz and safetensors, written in a stream
saved      results in files
diff       two results, aligned

A head is the result's document without `layers` and the verdict: what is known before any layer is computed.
"""
