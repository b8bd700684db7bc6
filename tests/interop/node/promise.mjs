// One line for each promise, kept or broken; `interop.py` counts them.

// The promise is kept if `check` ends without an exception.
export async function promise(text, check) {
  try {
    await check();
    console.log(`ok node: ${text}`);
  } catch (error) {
    console.log(`FAILED node: ${text}: ${String(error).replaceAll(/\s+/g, " ")}`);
  }
}
