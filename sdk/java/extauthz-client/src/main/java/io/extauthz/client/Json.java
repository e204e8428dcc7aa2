package io.extauthz.client;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.json.JsonWriteFeature;
import java.io.IOException;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * JSON (RFC 8259) as maps, lists, strings, booleans, null and exact numbers: {@link Long}, {@link BigInteger}
 * or, with a fraction or an exponent, {@link BigDecimal}.
 */
final class Json {

    /** Bounds the recursion of reading and writing. */
    private static final int MOST_LEVELS = 200;

    private static final JsonFactory FACTORY = JsonFactory.builder()
            // A reader that takes the first of two members and one that takes the last understand two documents.
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .disable(StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION)
            .enable(JsonWriteFeature.ESCAPE_NON_ASCII)
            .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
            .build();

    private Json() {}

    /** Returns a document; null for a text that is not JSON, and for {@code null}. */
    static Object read(byte[] body) {
        try {
            // Decoded here: the parser would guess UTF-16 and UTF-32, which RFC 8259 8.1 does not allow.
            String text = StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(body))
                    .toString();
            try (JsonParser parser = FACTORY.createParser(text)) {
                if (parser.nextToken() == null) {
                    return null;
                }
                Object document = value(parser, 0);
                return parser.nextToken() == null ? document : null;
            }
        } catch (CharacterCodingException | NumberFormatException error) {
            return null;
        } catch (IOException error) {
            return null;
        }
    }

    private static Object value(JsonParser parser, int level) throws IOException {
        if (level > MOST_LEVELS) {
            throw new IOException("the document is nested too deeply");
        }
        JsonToken token = parser.currentToken();
        switch (token) {
            case START_OBJECT -> {
                var members = new LinkedHashMap<String, Object>();
                while (parser.nextToken() != JsonToken.END_OBJECT) {
                    String name = parser.currentName();
                    parser.nextToken();
                    members.put(name, value(parser, level + 1));
                }
                return Collections.unmodifiableMap(members);
            }
            case START_ARRAY -> {
                var entries = new ArrayList<Object>();
                while (parser.nextToken() != JsonToken.END_ARRAY) {
                    entries.add(value(parser, level + 1));
                }
                return Collections.unmodifiableList(entries);
            }
            case VALUE_STRING -> {
                return parser.getText();
            }
            case VALUE_NUMBER_INT -> {
                return switch (parser.getNumberType()) {
                    case BIG_INTEGER -> parser.getBigIntegerValue();
                    default -> parser.getLongValue();
                };
            }
            case VALUE_NUMBER_FLOAT -> {
                return parser.getDecimalValue();
            }
            case VALUE_TRUE -> {
                return Boolean.TRUE;
            }
            case VALUE_FALSE -> {
                return Boolean.FALSE;
            }
            case VALUE_NULL -> {
                return null;
            }
            default -> throw new IOException("not a value of JSON");
        }
    }

    /**
     * Returns a document as JSON, each number with all of its digits.
     *
     * @throws IllegalArgumentException a value that JSON has no form for
     */
    static byte[] write(Object document) {
        var text = new StringWriter();
        try (JsonGenerator generator = FACTORY.createGenerator(text)) {
            write(generator, document, 0);
        } catch (IOException error) {
            throw new IllegalArgumentException("this is not expressible in JSON: " + error.getMessage(), error);
        }
        return text.toString().getBytes(StandardCharsets.US_ASCII);
    }

    private static void write(JsonGenerator generator, Object value, int level) throws IOException {
        if (level > MOST_LEVELS) {
            throw new IllegalArgumentException("a document has at most " + MOST_LEVELS + " levels");
        }
        if (value == null) {
            generator.writeNull();
        } else if (value instanceof String text) {
            generator.writeString(text);
        } else if (value instanceof Boolean flag) {
            generator.writeBoolean(flag);
        } else if (value instanceof Number number) {
            write(generator, number);
        } else if (value instanceof Map<?, ?> members) {
            generator.writeStartObject();
            for (Map.Entry<?, ?> member : members.entrySet()) {
                if (!(member.getKey() instanceof String name)) {
                    throw new IllegalArgumentException(
                            "the name of a JSON member is a string, not " + kind(member.getKey()));
                }
                generator.writeFieldName(name);
                write(generator, member.getValue(), level + 1);
            }
            generator.writeEndObject();
        } else if (value instanceof Collection<?> entries) {
            generator.writeStartArray();
            for (Object entry : entries) {
                write(generator, entry, level + 1);
            }
            generator.writeEndArray();
        } else {
            throw new IllegalArgumentException("JSON has no form for " + kind(value));
        }
    }

    private static void write(JsonGenerator generator, Number number) throws IOException {
        if (number instanceof Integer || number instanceof Long || number instanceof Short || number instanceof Byte) {
            generator.writeNumber(number.longValue());
        } else if (number instanceof BigInteger integer) {
            generator.writeNumber(integer);
        } else if (number instanceof BigDecimal decimal) {
            generator.writeNumber(decimal);
        } else if ((number instanceof Double || number instanceof Float) && Double.isFinite(number.doubleValue())) {
            generator.writeNumber(number.toString());
        } else {
            throw new IllegalArgumentException("JSON has no form for the " + kind(number) + " " + number);
        }
    }

    private static String kind(Object value) {
        return value == null ? "null" : value.getClass().getName();
    }

    /** Returns how a message names the type of a document. */
    static String type(Object document) {
        if (document == null) {
            return "nothing readable";
        }
        if (document instanceof Map) {
            return "a JSON object";
        }
        if (document instanceof List) {
            return "a JSON array";
        }
        if (document instanceof String) {
            return "a JSON string";
        }
        return document instanceof Boolean ? "a JSON boolean" : "a JSON number";
    }
}
