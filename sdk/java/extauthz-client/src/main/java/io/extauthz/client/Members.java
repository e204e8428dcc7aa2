package io.extauthz.client;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * The members of an object of an answer. A member that is missing or of another type is never guessed: every
 * method throws {@link UnexpectedAnswerException} for it.
 */
final class Members {

    private final Map<?, ?> members;

    Members(Object document) {
        if (!(document instanceof Map<?, ?> found)) {
            throw new UnexpectedAnswerException(
                    "the API answered with " + Json.type(document) + ", not with an object");
        }
        members = found;
    }

    boolean has(String name) {
        return members.containsKey(name);
    }

    /** Returns a member that must be there. */
    Object value(String name) {
        if (!members.containsKey(name)) {
            throw new UnexpectedAnswerException("the API answered with an object without '" + name + "'");
        }
        return members.get(name);
    }

    String text(String name) {
        if (value(name) instanceof String text) {
            return text;
        }
        throw misfit(name, "a string");
    }

    /** Returns a string; null when it is null or left out. */
    String optionalText(String name) {
        return members.get(name) == null ? null : text(name);
    }

    boolean flag(String name) {
        if (value(name) instanceof Boolean flag) {
            return flag;
        }
        throw misfit(name, "a boolean");
    }

    /** Returns a boolean; null when it is left out. */
    Boolean optionalFlag(String name) {
        return has(name) ? (Boolean) flag(name) : null;
    }

    long number(String name) {
        if (value(name) instanceof Long number) {
            return number;
        }
        throw misfit(name, "an integer");
    }

    <E extends Enum<E>> E choice(String name, Class<E> choices) {
        Object word = value(name);
        for (E choice : choices.getEnumConstants()) {
            if (Words.of(choice).equals(word)) {
                return choice;
            }
        }
        String words = Stream.of(choices.getEnumConstants()).map(Words::of).collect(Collectors.joining(", "));
        throw misfit(name, "one of " + words);
    }

    List<?> entries(String name) {
        return list(value(name));
    }

    List<String> texts(String name) {
        var texts = new ArrayList<String>();
        for (Object entry : entries(name)) {
            if (!(entry instanceof String text)) {
                throw misfit(name, "a list of strings");
            }
            texts.add(text);
        }
        return Collections.unmodifiableList(texts);
    }

    /** Returns an object of strings; null when it is null or left out. */
    Map<String, String> optionalTexts(String name) {
        if (members.get(name) == null) {
            return null;
        }
        var texts = new LinkedHashMap<String, String>();
        if (!(members.get(name) instanceof Map<?, ?> found)) {
            throw misfit(name, "an object of strings");
        }
        for (Map.Entry<?, ?> entry : found.entrySet()) {
            if (!(entry.getKey() instanceof String key && entry.getValue() instanceof String text)) {
                throw misfit(name, "an object of strings");
            }
            texts.put(key, text);
        }
        return Collections.unmodifiableMap(texts);
    }

    /** Returns a list of objects, empty when it is left out. */
    List<Map<String, Object>> objects(String name) {
        var objects = new ArrayList<Map<String, Object>>();
        for (Object entry : has(name) ? entries(name) : List.of()) {
            if (!(entry instanceof Map<?, ?> found)) {
                throw misfit(name, "a list of objects");
            }
            objects.add(object(found));
        }
        return Collections.unmodifiableList(objects);
    }

    static List<?> list(Object document) {
        if (document instanceof List<?> found) {
            return found;
        }
        throw new UnexpectedAnswerException("the API answered with " + Json.type(document) + ", not with a list");
    }

    /** Returns an object that {@link Json} has read, whose names are all strings. */
    @SuppressWarnings("unchecked")
    static Map<String, Object> object(Map<?, ?> found) {
        return (Map<String, Object>) found;
    }

    private static UnexpectedAnswerException misfit(String name, String wanted) {
        return new UnexpectedAnswerException("the API answered with a '" + name + "' that is not " + wanted);
    }
}
