//! Logs on stderr: JSON or words for the program's own, and each audit line just as it is.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::CliError;
use super::log_writer::LogLosses;
use crate::audit;
use crate::config::{Log, LogFormat};

/// Starts logging for the whole process; gives what counts the lines that are lost.
pub(super) fn start(log: &Log) -> Result<LogLosses, CliError> {
    let filter = EnvFilter::try_new(&log.level)
        .map_err(|error| CliError::Usage(format!("log.level: `{}`: {error}", log.level)))?;
    let losses = LogLosses::default();
    let base = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(losses.clone());
    let started = match log.format {
        LogFormat::Json => base
            .fmt_fields(JsonFields::new())
            .event_format(WithAudit(Format::default().json().flatten_event(true)))
            .try_init(),
        LogFormat::Pretty => base
            .event_format(WithAudit(Format::default().with_target(false)))
            .try_init(),
    };
    started.map_err(CliError::failed)?;
    Ok(losses)
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
