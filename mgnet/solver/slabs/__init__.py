"""One problem over several processes, each with a slab: some layers of cells, one after the other along x."""
