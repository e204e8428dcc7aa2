package io.extauthz.declare;

import java.text.Normalizer;

/**
 * Finds names that the API refuses. It would refuse the whole registration with them, which is all or none.
 */
final class NameProblems {

    private static final int LONGEST = 256;

    private NameProblems() { }

    /** Returns what is wrong with the names of a declaration; null where nothing is. */
    static String of(Declaration declaration) {
        String wrong = of("name", declaration.name());
        if (wrong == null && declaration.action() != null) {
            wrong = of("action", declaration.action());
        }
        if (wrong == null && declaration.displayName() != null) {
            wrong = of("displayName", declaration.displayName());
        }
        for (String role : declaration.defaultRoles()) {
            wrong = wrong == null ? of("defaultRoles", role) : wrong;
        }
        return wrong;
    }

    private static String of(String member, String name) {
        String wrong = problem(name);
        if (wrong == null && !member.equals("displayName") && name.equals("*")) {
            wrong = "is the wildcard; name one";
        }
        return wrong == null ? null : "its " + member + " '" + name + "' " + wrong;
    }

    private static String problem(String name) {
        if (name.isEmpty()) {
            return "is empty";
        }
        if (name.codePointCount(0, name.length()) > LONGEST) {
            return "is longer than " + LONGEST + " characters";
        }
        if (!name.strip().equals(name)) {
            return "begins or ends with white space";
        }
        if (name.codePoints().anyMatch(NameProblems::isHidden)) {
            return "has a control or invisible character";
        }
        return Normalizer.isNormalized(name, Normalizer.Form.NFC) ? null : "is not in Unicode normalization form NFC";
    }

    private static boolean isHidden(int character) {
        return switch (Character.getType(character)) {
            case Character.CONTROL, Character.FORMAT, Character.SURROGATE, Character.LINE_SEPARATOR,
                    Character.PARAGRAPH_SEPARATOR -> true;
            default -> false;
        };
    }
}
