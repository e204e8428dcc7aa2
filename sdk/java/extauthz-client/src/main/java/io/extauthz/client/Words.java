package io.extauthz.client;

import java.util.Locale;

/** The words that the API writes for the constants of an enum: their names in lower case. */
final class Words {

    private Words() {}

    static String of(Enum<?> constant) {
        return constant == null ? null : constant.name().toLowerCase(Locale.ROOT);
    }
}
