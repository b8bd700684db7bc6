// A dashboard as Grafana's own types have it, and as strict as they allow: options and custom fields by the type of the panel, no
// unknown member anywhere.
import type {
  AnnotationQuery, Dashboard, DataSourceRef, FieldConfig, GraphFieldConfig, MatcherConfig, Panel, RowPanel, VariableModel,
} from "@grafana/schema";
import type { Options as Stat } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type {
  FieldConfig as TimelineField, Options as Timeline,
} from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type { Options as Series } from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

/** As in JSON: an enum is its values. */
type Plain<T> = T extends string ? `${T}`
  : T extends number ? (`${T}` extends `${infer N extends number}` ? N : T)
  : T extends boolean | null | undefined ? T
  : T extends (infer E)[] ? Plain<E>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> }
  : T;

/** The package has no type for Prometheus' queries; these are the members that its editor writes. */
interface PrometheusQuery {
  datasource: DataSourceRef;
  editorMode: "code";
  expr: string;
  instant: boolean;
  legendFormat: string;
  range: boolean;
  refId: string;
}

type PanelOf<Type, Options, Custom> =
  & Plain<Omit<Panel, "type" | "title" | "description" | "options" | "fieldConfig" | "targets">>
  & {
    type: Type;
    title: string;
    description: string;
    id: number;
    options: Plain<Options>;
    fieldConfig: {
      defaults: Plain<Omit<FieldConfig, "custom" | "unit">> & { unit: string } & Custom;
      overrides: { matcher: Plain<MatcherConfig>; properties: { id: string; value?: unknown }[] }[];
    };
    targets: PrometheusQuery[];
  };

/** The types say `target`; Prometheus' annotations have always had these members, and its plugin reads them. */
type PrometheusAnnotation = Plain<AnnotationQuery> & {
  expr: string;
  step: string;
  titleFormat: string;
  textFormat: string;
  tagKeys: string;
  useValueForTime: boolean;
};

export type CheckedPanel =
  | PanelOf<"timeseries", Series, { custom: Plain<GraphFieldConfig> }>
  | PanelOf<"stat", Stat, unknown>
  | PanelOf<"state-timeline", Timeline, { custom: Plain<TimelineField> }>
  | Plain<RowPanel>;

export type CheckedDashboard = Plain<Omit<Dashboard, "panels" | "annotations" | "templating">> & {
  uid: "keywheel-verification" | "keywheel-keys" | "keywheel-auth";
  panels: CheckedPanel[];
  annotations: { list: PrometheusAnnotation[] };
  templating: { list: Plain<VariableModel>[] };
};
