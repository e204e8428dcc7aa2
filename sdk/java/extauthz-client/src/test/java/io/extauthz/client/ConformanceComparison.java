package io.extauthz.client;

import java.math.BigDecimal;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/** Compares requests, results and errors with what a case says; each method returns the differences in words. */
final class ConformanceComparison {

    /** A request as it arrived; the names of headers are in lower case. */
    record Request(String method, String target, List<Map.Entry<String, String>> headers, byte[] body) {

        /** Returns a header, the values of several joined; null where it is missing. */
        String header(String name) {
            List<String> values = headers.stream()
                    .filter(each -> each.getKey().equals(name))
                    .map(Map.Entry::getValue)
                    .toList();
            return values.isEmpty() ? null : String.join(", ", values);
        }

        String text() {
            return new String(body, StandardCharsets.UTF_8);
        }

        List<String> form() {
            return pairs(text());
        }
    }

    private ConformanceComparison() {}

    static List<String> ofRequest(Map<?, ?> expected, Request found) {
        var problems = new ArrayList<String>();
        String[] wanted = ((String) expected.get("request")).split(" ", 2);
        if (!wanted[0].equals(found.method()) || !place(wanted[1]).equals(place(found.target()))) {
            problems.add("the request is " + found.method() + " " + found.target() + ", not " + expected.get("request"));
        }
        if (!StandardCharsets.US_ASCII.newEncoder().canEncode(found.target())) {
            problems.add("the request target " + found.target() + " is not ASCII");
        }
        ConformanceCases.object(expected, "headers").forEach((name, value) -> {
            if (!Objects.equals(found.header((String) name), value)) {
                problems.add("the header " + name + " is " + found.header((String) name) + ", not " + value);
            }
        });
        String type = found.header("content-type") == null ? "" : found.header("content-type").split(";")[0];
        if (expected.containsKey("json")) {
            if (!type.equals("application/json")) {
                problems.add("the content type of the body is " + type);
            }
            Object document = Json.read(found.body());
            problems.addAll(of(expected.get("json"), document, "body"));
            for (Object digits : expected.get("digits") instanceof List<?> list ? list : List.of()) {
                if (!found.text().contains((String) digits)) {
                    problems.add("the body " + found.text() + " does not contain " + digits);
                }
            }
        } else if (expected.containsKey("form")) {
            if (!type.equals("application/x-www-form-urlencoded")) {
                problems.add("the content type of the form is " + type);
            }
            var fields = new ArrayList<String>();
            ConformanceCases.object(expected, "form").forEach((name, value) -> {
                for (Object each : value instanceof List<?> list ? list : List.of(value)) {
                    fields.add(name + "\0" + each);
                }
            });
            List<String> sent = new ArrayList<>(found.form());
            if (expected.containsKey("assertion")) {
                sent.removeIf(each -> each.startsWith("client_assertion\0"));
            }
            if (!sorted(fields).equals(sorted(sent))) {
                problems.add("the form is " + sent + ", not " + fields);
            }
        } else if (found.body().length > 0) {
            problems.add("the request has the body " + found.text());
        }
        return problems;
    }

    /** Returns the segments of the path and the parameters of the query, decoded. */
    private static List<List<String>> place(String target) {
        String[] halves = target.split("\\?", 2);
        var segments = new ArrayList<String>();
        for (String segment : halves[0].split("/", -1)) {
            segments.add(URLDecoder.decode(segment.replace("+", "%2B"), StandardCharsets.UTF_8));
        }
        return List.of(segments, halves.length == 1 ? List.of() : sorted(pairs(halves[1])));
    }

    private static List<String> pairs(String text) {
        var pairs = new ArrayList<String>();
        for (String pair : text.isEmpty() ? new String[0] : text.split("&")) {
            String[] halves = pair.split("=", 2);
            pairs.add(URLDecoder.decode(halves[0], StandardCharsets.UTF_8) + "\0"
                    + URLDecoder.decode(halves.length == 1 ? "" : halves[1], StandardCharsets.UTF_8));
        }
        return pairs;
    }

    private static List<String> sorted(List<String> texts) {
        return texts.stream().sorted().toList();
    }

    /** Compares documents: numbers by their exact values, null as an absent member. */
    static List<String> of(Object expected, Object found, String place) {
        var problems = new ArrayList<String>();
        if (expected instanceof Number one && found instanceof Number other) {
            if (exact(one).compareTo(exact(other)) != 0) {
                problems.add(place + " is " + found + ", not " + expected);
            }
        } else if (expected instanceof Map<?, ?> one && found instanceof Map<?, ?> other) {
            var names = new LinkedHashSet<Object>(one.keySet());
            names.addAll(other.keySet());
            names.forEach(name -> problems.addAll(of(one.get(name), other.get(name), place + "." + name)));
        } else if (expected instanceof List<?> one && found instanceof List<?> other) {
            if (one.size() != other.size()) {
                problems.add(place + " has " + other.size() + " entries, not " + one.size() + ": " + shortened(found));
            }
            for (int index = 0; index < Math.min(one.size(), other.size()); index++) {
                problems.addAll(of(one.get(index), other.get(index), place + "[" + index + "]"));
            }
        } else if (!Objects.equals(expected, found)) {
            problems.add(place + " is " + shortened(found) + ", not " + shortened(expected));
        }
        return problems;
    }

    static BigDecimal exact(Number number) {
        return new BigDecimal(number.toString());
    }

    private static String shortened(Object value) {
        String text = String.valueOf(value);
        return text.length() > 500 ? text.substring(0, 500) : text;
    }

    /** An error that a call threw, in the terms of the cases; the members of the others are null. */
    record Failure(String kind, String text, Map<String, Object> members) {}

    static List<String> ofFailure(Map<?, ?> expected, Failure found) {
        var problems = new ArrayList<String>();
        if (!found.kind().equals(expected.get("kind"))) {
            problems.add("the error is of the kind " + found.kind() + ", not " + expected.get("kind") + ": " + found.text());
        }
        for (String name : List.of("status", "title", "detail", "reason", "retry_after", "errors")) {
            if (expected.containsKey(name)) {
                problems.addAll(of(expected.get(name), found.members().get(name), "the error's " + name));
            }
        }
        for (Object text : expected.get("text") instanceof List<?> list ? list : List.of()) {
            if (!found.text().contains((String) text)) {
                problems.add("the text '" + shortened(found.text()) + "' lacks '" + text + "'");
            }
        }
        for (Object text : expected.get("not_text") instanceof List<?> list ? list : List.of()) {
            if (found.text().contains((String) text)) {
                problems.add("the text '" + shortened(found.text()) + "' has '" + text + "'");
            }
        }
        return problems;
    }
}
