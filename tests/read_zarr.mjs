// Read a store over HTTP with zarrita: prints the number of its members, and each value of two arrays.
import * as zarr from "zarrita";

const store = await zarr.withConsolidatedMetadata(new zarr.FetchStore(process.argv[2]), { format: "v3" });
const group = await zarr.open(store, { kind: "group" });
const read = {};
for (const name of ["r_mean", "status"]) {
  const { data } = await zarr.get(await zarr.open(group.resolve(name), { kind: "array" }));
  read[name] = [...data];
}
console.log(JSON.stringify({ members: store.contents().length, ...read }));
