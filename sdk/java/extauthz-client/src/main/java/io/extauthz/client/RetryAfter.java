package io.extauthz.client;

import java.time.DateTimeException;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.time.temporal.ChronoField;
import java.util.Locale;

/** {@code Retry-After}: a number of seconds, or a time (RFC 9110 10.2.3, 5.6.7). */
final class RetryAfter {

    private static final DateTimeFormatter RFC_850 = new DateTimeFormatterBuilder()
            .appendPattern("EEEE, dd-MMM-")
            // A year that seems to be more than 50 years ahead is one of the past century.
            .appendValueReduced(
                    ChronoField.YEAR, 2, 2, LocalDateTime.now(ZoneOffset.UTC).getYear() - 49)
            .appendPattern(" HH:mm:ss 'GMT'")
            .toFormatter(Locale.ENGLISH);
    private static final DateTimeFormatter ASCTIME = new DateTimeFormatterBuilder()
            .appendPattern("EEE MMM ")
            .padNext(2)
            .appendValue(ChronoField.DAY_OF_MONTH)
            .appendPattern(" HH:mm:ss yyyy")
            .toFormatter(Locale.ENGLISH);

    private RetryAfter() {}

    /** Returns how many seconds to wait, 0 for a time that has passed; null for a text that says nothing. */
    static Double seconds(String text, Instant now) {
        String stripped = text.strip();
        if (stripped.isEmpty()) {
            return null;
        }
        if (stripped.chars().allMatch(each -> each >= '0' && each <= '9')) {
            return Double.valueOf(stripped);
        }
        Instant until = time(stripped);
        return until == null ? null : Math.max(0.0, (until.toEpochMilli() - now.toEpochMilli()) / 1000.0);
    }

    private static Instant time(String text) {
        try {
            return ZonedDateTime.parse(text, DateTimeFormatter.RFC_1123_DATE_TIME)
                    .toInstant();
        } catch (DateTimeException error) {
            // One of the two obsolete forms that a recipient has to accept, too, or none.
        }
        for (DateTimeFormatter format : new DateTimeFormatter[] {RFC_850, ASCTIME}) {
            try {
                return LocalDateTime.parse(text, format).toInstant(ZoneOffset.UTC);
            } catch (DateTimeException error) {
                // The next form.
            }
        }
        return null;
    }
}
