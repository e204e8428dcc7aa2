package io.extauthz.quarkus.deployment;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The running demo, by the ready file that {@code make test-java} names. */
final class Demo {

    static final String PROPERTY = "demo.facts";
    static final String WITHOUT = "needs a running demo, as make test-java starts one: -Ddemo.facts=FILE";

    private Demo() { }

    /** Returns a text of the file, such as {@code rest_url} or the token of {@code alice}; "" without a demo. */
    static String fact(String name) {
        String file = System.getProperty(PROPERTY);
        if (file == null) {
            return "";
        }
        try {
            Matcher found = Pattern.compile('"' + name + "\": *\"([^\"]*)\"").matcher(Files.readString(Path.of(file)));
            if (!found.find()) {
                throw new IllegalStateException("the ready file of the demo has no '" + name + "'");
            }
            return found.group(1);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
