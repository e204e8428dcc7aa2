package io.extauthz.client;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/** Writes and reads the documents of the API. */
final class Documents {

    private Documents() {}

    /** Adds a member, unless its value is null. */
    static void put(Map<String, Object> members, String name, Object value) {
        if (value != null) {
            members.put(name, value);
        }
    }

    /** Returns a copy that keeps the order and takes null values. */
    static <V> Map<String, V> copy(Map<String, ? extends V> members) {
        return Collections.unmodifiableMap(new LinkedHashMap<>(members));
    }

    static <T, R> List<R> all(Collection<? extends T> values, Function<T, R> convert) {
        var converted = new ArrayList<R>(values.size());
        for (T value : values) {
            converted.add(convert.apply(value));
        }
        return Collections.unmodifiableList(converted);
    }
}
