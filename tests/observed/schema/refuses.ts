// The check itself checked: what these types must refuse.
import type { CheckedDashboard, CheckedPanel } from "./dashboard";

const datasource = { type: "prometheus", uid: "prometheus" };
const legend = { calcs: [] as string[], displayMode: "list", placement: "bottom", showLegend: true } as const;
const target = { datasource, editorMode: "code", expr: "up", instant: false, legendFormat: "", range: true, refId: "A" } as const;
const base = { id: 1, title: "a", description: "b", targets: [target] };
const fieldConfig = { defaults: { unit: "s", custom: {} }, overrides: [] };
const options = { legend, tooltip: { mode: "multi", sort: "none" } } as const;

export const good: CheckedPanel = { ...base, type: "timeseries", options, fieldConfig };
// @ts-expect-error a mode that there is not
export const mode: CheckedPanel = { ...base, type: "timeseries", options: { legend, tooltip: { mode: "many", sort: "none" } }, fieldConfig };
// @ts-expect-error an option of another panel
export const option: CheckedPanel = { ...base, type: "timeseries", options: { ...options, rowHeight: 1 }, fieldConfig };
// @ts-expect-error a drawing style that there is not
export const style: CheckedPanel = { ...base, type: "timeseries", options, fieldConfig: { defaults: { unit: "s", custom: { drawStyle: "dots" } }, overrides: [] } };
// @ts-expect-error no unit
export const unit: CheckedPanel = { ...base, type: "timeseries", options, fieldConfig: { defaults: { custom: {} }, overrides: [] } };
// @ts-expect-error a type that there is not
export const kind: CheckedPanel = { ...base, type: "graph", options, fieldConfig };
// @ts-expect-error a target without an expression
export const empty: CheckedPanel = { ...base, type: "timeseries", options, fieldConfig, targets: [{ datasource, refId: "A" }] };

const board = { uid: "keywheel-keys", schemaVersion: 42 } as const;
export const whole: CheckedDashboard = { ...board, panels: [], annotations: { list: [] }, templating: { list: [] } };
// @ts-expect-error a member that there is not
export const member: CheckedDashboard = { ...whole, rows: [] };
// @ts-expect-error a kind of variable that there is not
export const variable: CheckedDashboard = { ...whole, templating: { list: [{ name: "job", type: "list" }] } };
