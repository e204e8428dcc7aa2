package io.extauthz.declare;

import java.util.ArrayList;
import java.util.List;

/**
 * A set of paths: one entry a segment, and whether everything below is in it, too.
 *
 * @param segments the segments in their order
 * @param rest whether the paths below are in it, as with a final {@code /**}
 */
record PathShape(List<Segment> segments, boolean rest) {

    PathShape {
        segments = List.copyOf(segments);
    }

    /** What a segment can be. */
    enum Kind {
        /** One text. The empty text is the end of a path with a trailing slash. */
        LITERAL,
        /** One text in whatever case. */
        FOLDED,
        /** Each text that is not empty. */
        PARAMETER,
        /** Each text, the empty one too. */
        ANY
    }

    /** A segment; {@code text} is null where it can be several. */
    record Segment(Kind kind, String text) {

        static final Segment PARAMETER = new Segment(Kind.PARAMETER, null);
        static final Segment ANY = new Segment(Kind.ANY, null);

        static Segment literal(String text) {
            return new Segment(Kind.LITERAL, text);
        }

        /** Returns the same text in whatever case. */
        Segment folded() {
            return kind == Kind.LITERAL ? new Segment(Kind.FOLDED, text) : this;
        }

        /** Returns what both can be; null where that is nothing. Of two texts, the one of this segment. */
        private Segment meet(Segment other) {
            if (kind == Kind.ANY || other.kind == Kind.ANY) {
                return kind == Kind.ANY ? other : this;
            }
            if (kind == Kind.PARAMETER || other.kind == Kind.PARAMETER) {
                Segment narrower = kind == Kind.PARAMETER ? other : this;
                return "".equals(narrower.text) ? null : narrower;
            }
            boolean same = kind == Kind.FOLDED || other.kind == Kind.FOLDED
                    ? text.equalsIgnoreCase(other.text)
                    : text.equals(other.text);
            return same ? (kind == Kind.LITERAL ? this : other) : null;
        }

        private boolean covers(Segment other) {
            return switch (kind) {
                case LITERAL -> other.kind == Kind.LITERAL && text.equals(other.text);
                case FOLDED -> other.text != null && text.equalsIgnoreCase(other.text);
                case PARAMETER -> other.kind != Kind.ANY && !"".equals(other.text);
                case ANY -> true;
            };
        }
    }

    /** Returns the same paths in whatever case. */
    PathShape folded() {
        return new PathShape(segments.stream().map(Segment::folded).toList(), rest);
    }

    /** Returns a set that holds every path of both; null where there is none. */
    PathShape meet(PathShape other) {
        List<Segment> longer = segments.size() >= other.segments.size() ? segments : other.segments;
        int shorter = Math.min(segments.size(), other.segments.size());
        if (longer.size() > shorter && !(longer == segments ? other.rest : rest)) {
            return null;
        }
        // Most pairs of routes have nothing in common: a list is made only for those that have.
        for (int i = 0; i < shorter; i++) {
            if (segments.get(i).meet(other.segments.get(i)) == null) {
                return null;
            }
        }
        var met = new ArrayList<Segment>(longer.size());
        for (int i = 0; i < shorter; i++) {
            met.add(segments.get(i).meet(other.segments.get(i)));
        }
        met.addAll(longer.subList(shorter, longer.size()));
        return new PathShape(met, rest && other.rest);
    }

    /** Tells whether every path of the other is one of these. */
    boolean covers(PathShape other) {
        if (other.rest && !rest) {
            return false;
        }
        int own = segments.size();
        if (rest ? other.segments.size() < own : other.segments.size() != own) {
            return false;
        }
        for (int i = 0; i < own; i++) {
            if (!segments.get(i).covers(other.segments.get(i))) {
                return false;
            }
        }
        return true;
    }

    /**
     * Tells whether the mesh prefers this template for a path that both match: at the first segment where
     * they differ, a literal goes before a parameter, and that before {@code /**}.
     */
    boolean betterThan(PathShape other) {
        for (int i = 0; i < Math.min(segments.size(), other.segments.size()); i++) {
            boolean literal = segments.get(i).kind == Kind.LITERAL;
            if (literal != (other.segments.get(i).kind == Kind.LITERAL)) {
                return literal;
            }
        }
        if (segments.size() != other.segments.size()) {
            return segments.size() > other.segments.size();
        }
        return !rest && other.rest;
    }
}
