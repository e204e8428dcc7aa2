package io.extauthz.client;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.snakeyaml.engine.v2.api.ConstructNode;
import org.snakeyaml.engine.v2.api.Load;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.nodes.ScalarNode;
import org.snakeyaml.engine.v2.nodes.Tag;
import org.snakeyaml.engine.v2.schema.CoreSchema;

/** The cases of {@code sdk/conformance}, read as their README describes. */
final class ConformanceCases {

    static final Path FOLDER = Path.of("..", "..", "conformance");

    private static final List<String> STEP =
            List.of("advance", "call", "with", "exchanges", "waits", "result", "error", "revision");

    /** YAML 1.2 with its core schema, in which numbers are exact. */
    private static final class Exact extends CoreSchema {

        @Override
        public Map<Tag, ConstructNode> getSchemaTagConstructors() {
            var constructors = new HashMap<>(super.getSchemaTagConstructors());
            constructors.put(Tag.FLOAT, node -> new BigDecimal(((ScalarNode) node).getValue()));
            return constructors;
        }
    }

    /** A case, with the name of its file. */
    record Case(String file, Map<?, ?> document) {

        List<Map<?, ?>> steps() {
            if (document.get("steps") instanceof List<?> steps) {
                return objects(steps);
            }
            var own = new LinkedHashMap<Object, Object>();
            STEP.stream().filter(document::containsKey).forEach(name -> own.put(name, document.get(name)));
            return List.of(own);
        }

        boolean isReal() {
            return document.containsKey("real");
        }

        @Override
        public String toString() {
            return file + ": " + document.get("name");
        }
    }

    private ConformanceCases() {}

    /** Returns every case of every file. */
    static List<Case> all() throws IOException {
        var settings = LoadSettings.builder()
                .setSchema(new Exact())
                .setAllowDuplicateKeys(false)
                .setMaxAliasesForCollections(10_000)
                .build();
        var cases = new ArrayList<Case>();
        try (Stream<Path> files = Files.list(FOLDER)) {
            for (Path file : files.filter(each -> each.toString().endsWith(".yaml")).sorted().toList()) {
                var content = (Map<?, ?>) new Load(settings).loadFromString(Files.readString(file));
                String name = file.getFileName().toString().replace(".yaml", "");
                objects(content.get("cases")).forEach(each -> cases.add(new Case(name, each)));
            }
        }
        return cases;
    }

    static List<Map<?, ?>> objects(Object list) {
        var objects = new ArrayList<Map<?, ?>>();
        if (list != null) {
            ((List<?>) list).forEach(each -> objects.add((Map<?, ?>) each));
        }
        return objects;
    }

    /** Returns a member that is an object; an empty one where there is none. */
    static Map<?, ?> object(Map<?, ?> document, String name) {
        return document.get(name) instanceof Map<?, ?> found ? found : Map.of();
    }

    /** Returns a text of a case as octets: {@code \xNN} is one of them. */
    static byte[] octets(String text) {
        var octets = new ByteArrayOutputStream();
        Matcher found = Pattern.compile("\\\\x([0-9a-f]{2})").matcher(text);
        int from = 0;
        while (found.find()) {
            octets.writeBytes(text.substring(from, found.start()).getBytes(StandardCharsets.UTF_8));
            octets.write(Integer.parseInt(found.group(1), 16));
            from = found.end();
        }
        octets.writeBytes(text.substring(from).getBytes(StandardCharsets.UTF_8));
        return octets.toByteArray();
    }

    /** Values by name; functions are for {@code $NAME(argument)}. An unknown name stays as it is written. */
    static final class Variables {

        private static final Pattern NAME = Pattern.compile("\\$(?:\\$|([A-Za-z_]+)(?:\\(([^)]*)\\))?)");

        final Map<String, Object> values = new HashMap<>();
        private final Map<String, UnaryOperator<String>> functions;

        Variables(Map<String, UnaryOperator<String>> functions) {
            this.functions = functions;
        }

        /** Returns a document with its variables replaced. */
        Object fill(Object document) {
            if (document instanceof String text) {
                return filled(text);
            }
            if (document instanceof Map<?, ?> members) {
                var filled = new LinkedHashMap<Object, Object>();
                members.forEach((name, value) -> filled.put(fill(name), fill(value)));
                return filled;
            }
            if (document instanceof List<?> entries) {
                var filled = new ArrayList<>();
                entries.forEach(entry -> filled.add(fill(entry)));
                return filled;
            }
            return document;
        }

        private Object filled(String text) {
            Matcher whole = NAME.matcher(text);
            if (whole.matches() && whole.group(2) == null && values.containsKey(whole.group(1))) {
                return values.get(whole.group(1));
            }
            return NAME.matcher(text).replaceAll(found -> Matcher.quoteReplacement(value(found.group(), found.group(1), found.group(2))));
        }

        private String value(String written, String name, String argument) {
            if (name == null) {
                return "$";
            }
            if (argument != null) {
                return functions.containsKey(name) ? functions.get(name).apply(argument) : written;
            }
            return values.containsKey(name) ? String.valueOf(values.get(name)) : written;
        }

        /** Gives each variable that is unset and compared with a value that value. */
        void bind(Object expected, Object found) {
            if (expected instanceof String text) {
                Matcher name = NAME.matcher(text);
                if (name.matches() && name.group(1) != null && name.group(2) == null) {
                    values.putIfAbsent(name.group(1), found);
                }
            } else if (expected instanceof Map<?, ?> members && found instanceof Map<?, ?> others) {
                members.forEach((name, value) -> bind(value, others.get(name)));
            } else if (expected instanceof List<?> entries && found instanceof List<?> others) {
                for (int index = 0; index < Math.min(entries.size(), others.size()); index++) {
                    bind(entries.get(index), others.get(index));
                }
            }
        }
    }
}
