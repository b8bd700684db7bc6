//! Logs on stderr: JSON or words for the program's own, and each audit line just as it is.
//!
//! The audit trail does not go by the level: it has a switch of its own.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, Layer};
use tracing_subscriber::layer::{Context, Filter, Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::CliError;
use super::log_writer::LogLosses;
use crate::audit;
use crate::config::{Log, LogFormat};

/// Starts logging for the whole process; gives what counts the lines that are lost.
pub(super) fn start(log: &Log) -> Result<LogLosses, CliError> {
    let others = EnvFilter::try_new(log.filter())
        .map_err(|error| CliError::Usage(format!("log.level: `{}`: {error}", log.level)))?;
    let filter = AuditApart {
        others,
        audit: log.audit,
    };
    let losses = LogLosses::default();
    let layer = Layer::default().with_writer(losses.clone());
    let started = match log.format {
        LogFormat::Json => {
            let layer = layer
                .fmt_fields(JsonFields::new())
                .event_format(WithAudit(Format::default().json().flatten_event(true)));
            Registry::default()
                .with(layer.with_filter(filter))
                .try_init()
        }
        LogFormat::Pretty => {
            let layer = layer.event_format(WithAudit(Format::default().with_target(false)));
            Registry::default()
                .with(layer.with_filter(filter))
                .try_init()
        }
    };
    started.map_err(CliError::failed)?;
    Ok(losses)
}

/// Audit lines by their switch alone; everything else by the configured level.
struct AuditApart {
    others: EnvFilter,
    audit: bool,
}

impl<S> Filter<S> for AuditApart {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        match is_audit(metadata) {
            true => self.audit,
            false => Filter::enabled(&self.others, metadata, context),
        }
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match (is_audit(metadata), self.audit) {
            (true, true) => Interest::always(),
            (true, false) => Interest::never(),
            (false, _) => Filter::<S>::callsite_enabled(&self.others, metadata),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let others = Filter::<S>::max_level_hint(&self.others)?;
        // Audit lines are of the level INFO.
        Some(match self.audit {
            true => others.max(LevelFilter::INFO),
            false => others,
        })
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        Filter::on_new_span(&self.others, attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Filter::on_record(&self.others, id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        Filter::on_enter(&self.others, id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        Filter::on_exit(&self.others, id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        Filter::on_close(&self.others, id, context);
    }
}

fn is_audit(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && metadata.target() == audit::TARGET
}

/// Any format, but for audit lines: those are whole already.
struct WithAudit<F>(F);

type JsonFormat = Format<Json>;
type PrettyFormat = Format<Full>;

macro_rules! with_audit {
    ($format:ty) => {
        impl<S, N> FormatEvent<S, N> for WithAudit<$format>
        where
            S: Subscriber + for<'a> LookupSpan<'a>,
            N: for<'a> FormatFields<'a> + 'static,
        {
            fn format_event(
                &self,
                context: &FmtContext<'_, S, N>,
                mut writer: Writer<'_>,
                event: &Event<'_>,
            ) -> fmt::Result {
                if event.metadata().target() != audit::TARGET {
                    return self.0.format_event(context, writer, event);
                }
                let mut message = Message::default();
                event.record(&mut message);
                writeln!(writer, "{}", message.0)
            }
        }
    };
}

with_audit!(JsonFormat);
with_audit!(PrettyFormat);

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // The message of a tracing macro is a `fmt::Arguments`, whose Debug is its text.
            self.0 = format!("{value:?}");
        }
    }
}
