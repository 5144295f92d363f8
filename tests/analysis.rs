//! Terms: words against a second implementation, English against known answers, other languages.

use proptest::prelude::*;
use swirldb::text::analysis::{
    Analyzer, Chunking, Kind, STOP_WORDS, TOKEN_UNITS_MAX, TermNumbers, Tokenizer, stem,
};
use unicode_segmentation::UnicodeSegmentation;

fn tokens(text: &str) -> Vec<&str> {
    Tokenizer::new(text).map(|token| &text[token.start..token.end]).collect()
}

fn english(text: &str) -> Vec<String> {
    Analyzer::English.start().collect(text)
}

fn neutral(text: &str) -> Vec<String> {
    Analyzer::Neutral.start().collect(text)
}

/// What Unicode's rules make of a text, as another library has them.
fn segments(text: &str) -> Vec<&str> {
    text.split_word_bounds().filter(|word| word.contains(char::is_alphanumeric)).collect()
}

/// Characters of ASCII in the classes that the rules of words know, but for the colon, which is no
/// part of a word in today's Unicode.
const ASCII: &str = "aZ09_.,;'\" -\n(#*";

/// Others of the same classes: `BEYOND` at the same place.
const BEYOND: [char; 16] = [
    'é', 'Ж', '٠', '٩', '\u{203F}', '\u{2024}', '\u{60C}', '\u{37E}', '\u{2018}', '«', '\u{A0}',
    '–', '\u{85}', '（', '×', '÷',
];

fn text_of(characters: &'static str, most: usize) -> impl Strategy<Value = String> {
    let all: Vec<char> = characters.chars().collect();
    prop::collection::vec(prop::sample::select(all), 0..most)
        .prop_map(|chosen| chosen.into_iter().collect())
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn words_are_those_of_another_implementation(
        plain in text_of(ASCII, 60),
        mixed in text_of("aé_9٠.’,ア漢ひ한אא\u{301}\u{AD} -〜ㇰｱΣ", 40),
    ) {
        prop_assert_eq!(tokens(&plain), segments(&plain));
        prop_assert_eq!(tokens(&mixed), segments(&mixed));
    }

    #[test]
    fn the_short_cut_for_ascii_gives_what_the_rules_do(
        text in text_of("aaaaaaZ0_.,;'\" -\n(#*:", 900),
    ) {
        let swap = |c: char| match c {
            ':' => '\u{B7}',
            'a' => 'é',
            _ => BEYOND[ASCII.find(c).unwrap()],
        };
        let other: String = text.chars().map(swap).collect();
        let starts = other.char_indices().map(|(at, _)| at);
        let places: Vec<usize> = starts.chain([other.len()]).collect();
        let by_rules: Vec<(usize, usize)> =
            Tokenizer::new(&other).map(|token| (token.start, token.end)).collect();
        let by_short_cut: Vec<(usize, usize)> =
            Tokenizer::new(&text).map(|token| (places[token.start], places[token.end])).collect();
        prop_assert_eq!(by_short_cut, by_rules);
    }

    #[test]
    fn any_text_has_terms_and_what_was_analysed_before_changes_none(
        texts in prop::collection::vec(any::<String>(), 1..5),
        common in text_of("aA's ingedrunthe'S9.", 80),
    ) {
        for analyzer in Analyzer::ALL {
            let mut analysis = analyzer.start();
            for text in texts.iter().chain([&common]).chain(&texts) {
                let terms = analysis.collect(text);
                prop_assert!(terms.iter().all(|term| !term.is_empty()));
                prop_assert_eq!(&terms, &analyzer.start().collect(text));
            }
        }
    }

    #[test]
    fn passages_cover_every_word(
        text in text_of("ab  \n.漢字ไท\u{301}é,", 120), words in 1_usize..7, overlap in 0_usize..7,
    ) {
        let chunking = Chunking::new(words, overlap);
        prop_assert_eq!(chunking.is_err(), overlap >= words);
        let Ok(chunking) = chunking else { return Ok(()) };
        let passages = chunking.passages(&text);
        let mut behind = 0;
        for passage in &passages {
            prop_assert!(!text[passage.clone()].is_empty());
            prop_assert_eq!(text[passage.clone()].trim(), &text[passage.clone()]);
            prop_assert!(text.get(behind..passage.start).unwrap_or_default().trim().is_empty());
            behind = passage.end;
        }
        prop_assert!(text[behind..].trim().is_empty());
    }
}

#[test]
fn the_tokenizer_has_lucenes_choices() {
    for (text, expected) in [
        ("can't stop O'Neil's 'quoted'", vec!["can't", "stop", "O'Neil's", "quoted"]),
        (
            "3.14 1,000.50 3,a a.b a..b U.S.A.",
            vec!["3.14", "1,000.50", "3", "a", "a.b", "a", "b", "U.S.A"],
        ),
        ("key:value 12:30 re:9", vec!["key:value", "12", "30", "re", "9"]),
        ("snake_case __init__ ___ _1", vec!["snake_case", "__init__", "_1"]),
        ("e-mail a/b C++ C# x@y.org", vec!["e", "mail", "a", "b", "C", "C", "x", "y.org"]),
        ("東京都へ行く カタカナー", vec!["東", "京", "都", "へ", "行", "く", "カタカナー"]),
        ("한국어 abc한국", vec!["한국어", "abc한국"]),
        ("สวัสดีครับ ភាសា", vec!["สวัสดีครับ", "ភាសា"]),
        ("צה\"ל ג'", vec!["צה\"ל", "ג'"]),
        ("e\u{301}te\u{301} soft\u{AD}hyphen", vec!["e\u{301}te\u{301}", "soft\u{AD}hyphen"]),
        ("\u{301}\u{301} \u{301}a", vec!["a"]),
        (
            "ok 👍🏽 👩\u{200D}👩\u{200D}👧 🇩🇪🇫🇷🇩 ©",
            vec!["ok", "👍🏽", "👩\u{200D}👩\u{200D}👧", "🇩🇪", "🇫🇷", "©"],
        ),
        (
            "1\u{FE0F}\u{20E3} #\u{20E3} 12\u{20E3}",
            vec!["1\u{FE0F}\u{20E3}", "#\u{20E3}", "12\u{20E3}"],
        ),
        ("word\u{2014}word don\u{2019}t", vec!["word", "word", "don\u{2019}t"]),
    ] {
        assert_eq!(tokens(text), expected, "{text}");
    }
    let kinds = |text| Tokenizer::new(text).map(|token| token.kind).collect::<Vec<_>>();
    assert_eq!(
        kinds("漢ひカタ한글 ไทย 👍 abc한"),
        [
            Kind::Han,
            Kind::Hiragana,
            Kind::Katakana,
            Kind::Hangul,
            Kind::Southeast,
            Kind::Emoji,
            Kind::Word,
        ]
    );
}

#[test]
fn long_tokens_are_cut_and_long_texts_are_no_trouble() {
    let lengths = |text: &str| {
        tokens(text).iter().map(|token| token.encode_utf16().count()).collect::<Vec<_>>()
    };
    assert_eq!(lengths(&"a".repeat(600)), [255, 255, 90]);
    assert_eq!(lengths(&"é".repeat(300)), [255, 45]);
    // Letters of two units: 127 of them are 254.
    assert_eq!(lengths(&"𝒳".repeat(130)), [254, 6]);
    assert_eq!(lengths(&format!("{}'bc", "a".repeat(254))), [254, 2]);
    assert_eq!(lengths(&format!("{}'b", "a".repeat(253))), [255]);
    assert_eq!(lengths(&format!("{}a", "_".repeat(400))), [255]);
    assert_eq!(lengths(&"_".repeat(400)), [0; 0]);
    assert_eq!(lengths(&format!("{}é", "\u{203F}".repeat(400))), [255]);
    assert_eq!(lengths(&format!("{}𝒳", "\u{203F}".repeat(400))), [255]);
    assert_eq!(lengths(&format!("{}👍", "\u{200D}".repeat(400))), [255]);
    for piece in
        ["a", "_", "é", "\0", "\u{301}", "\u{200D}", "👍", "🇩", "\u{5D0}\"", "ก", "漢", "a.", "."]
    {
        let text = piece.repeat(100_000 / piece.len());
        for analyzer in Analyzer::ALL {
            let mut bytes = 0;
            let mut longest = 0;
            analyzer.start().tokens(&text, &mut |term: &str| {
                bytes += term.len();
                longest = longest.max(term.encode_utf16().count());
            });
            assert!(bytes <= 2 * text.len() && longest <= TOKEN_UNITS_MAX, "{piece:?}: {longest}");
        }
    }
}

#[test]
fn english_terms_are_those_of_lucene() {
    for (text, expected) in [
        ("The quick brown foxes' tails weren't wagging", "quick brown fox tail weren't wag"),
        ("The dog's and the DOG'S and dogs\u{2019}s O\u{FF07}S", "dog dog dog o"),
        ("It's the Teller's ('s) 'S", "teller s s"),
        ("Generalizations of relational RELATIONS", "gener relat relat"),
        ("Is this a test? No; it IS.", "test"),
        ("naïve cafés ÉTÉ İstanbul", "naïv café été istanbul"),
        ("aerodynamics 3.5-inch COVID-19 vitamin D", "aerodynam 3.5 inch covid 19 vitamin d"),
        ("electroencephalographically internationalization", "electroencephalograph internation"),
        ("東京 Ωmega ΣΊΣΥΦΟΣ", "東 京 ωmega σίσυφοσ"),
        ("be:ing a.b.c. to_be and_or the", "be:e a.b.c to_b and_or"),
    ] {
        assert_eq!(english(text).join(" "), expected, "{text}");
    }
    for word in STOP_WORDS {
        assert_eq!(english(&format!("{word} {}", word.to_uppercase())), [""; 0], "{word}");
    }
}

/// Words and their stems: of step 1, of steps 2 to 4, of step 5, where the programs depart from the
/// paper, and words that were trouble or are none of ASCII.
const STEMS: &str = "
    caresses=caress ponies=poni ties=ti cats=cat ies=i feed=feed agreed=agre plastered=plaster
    bled=bled motoring=motor sing=sing conflated=conflat sized=size hopping=hop falling=fall
    hissing=hiss fizzed=fizz filing=file failing=fail happy=happi sky=sky
    relational=relat conditional=condit valenci=valenc digitizer=digit conformabli=conform
    radically=radic vietnamization=vietnam operator=oper feudalism=feudal decisiveness=decis
    hopefulness=hope sensibiliti=sensibl triplicate=triplic formative=form electrical=electr
    goodness=good revival=reviv allowance=allow airliner=airlin gyroscopic=gyroscop
    replacement=replac adjustment=adjust adoption=adopt communism=commun effective=effect
    ion=ion
    probate=probat rate=rate cease=ceas controll=control roll=roll
    possibly=possibl analogy=analog is=is as=as
    aed=a eed=eed oed=o yyyyed=yyyi s's=s' saéing=saée 丸丸ed=丸丸ed наука=наука résumés=résumé
";

#[test]
fn stems_are_porters() {
    for pair in STEMS.split_whitespace() {
        let (word, expected) = pair.split_once('=').unwrap();
        assert_eq!(stem(word), expected, "{word}");
    }
    assert_eq!(stem(""), "");
}

#[test]
fn terms_do_not_depend_on_how_much_was_read() {
    let words: Vec<String> = (0..9000).map(|number| format!("W{number}ings")).collect();
    let text = words.join(" ");
    let mut analysis = Analyzer::English.start();
    let first = analysis.collect(&text);
    assert_eq!(first[8999], "w8999ing");
    assert_eq!(analysis.collect(&text), first);
}

#[test]
fn neutral_terms_are_found_however_they_are_written() {
    for (text, expected) in [
        ("The Straße STRAẞE ﬁne Ⅷ ＡＢＣ", "the strasse strasse fine viii abc"),
        ("it\u{2019}s ΣΊΣΥΦΟΣ soft\u{AD}hyphen", "it's σίσυφοσ softhyphen"),
        ("東京都 へ A", "東京 京都 へ a"),
        ("東京都へ行く。ｶﾞｷﾞ", "東京 京都 都へ へ行 行く ガギ"),
        ("서울은 abc한국", "서울 울은 abc한국"),
        ("ภาษาไทย", "ภา าษ ษา าไ ไท ทย"),
        ("كِتَابٌ كتـاب", "كتاب كتاب"),
        ("résumé re\u{301}sume\u{301} kırmızı", "résumé résumé kırmızı"),
        ("Ελλάδα नमस्ते", "ελλάδα नमस्ते"),
    ] {
        assert_eq!(neutral(text).join(" "), expected, "{text}");
    }
    // A word inside a sentence without blanks: its terms are among those of the sentence.
    for (sentence, word) in [("我住在北京市中心", "北京市"), ("ฉันอยู่ในกรุงเทพมหานคร", "กรุงเทพ")]
    {
        let terms = neutral(sentence);
        assert!(neutral(word).iter().all(|term| terms.contains(term)), "{word}: {terms:?}");
    }
}

#[test]
fn analyzers_have_names() {
    for analyzer in Analyzer::ALL {
        assert_eq!(Analyzer::parse(analyzer.as_str()), Some(analyzer));
    }
    assert_eq!(Analyzer::parse("German"), None);
}

/// The classes of characters come from a library. If this fails after an update, terms changed:
/// raise `Analyzer::version`, then take the new number.
#[test]
fn characters_keep_their_classes_as_long_as_the_version_is_the_same() {
    let mut hash = blake3::Hasher::new();
    let mut analysis = Analyzer::Neutral.start();
    let blocks = [0..0x3400_u32, 0x4DB0..0x4E10, 0x9FF0..0xAC10, 0xD7A0..0x14700, 0x16800..0x17000];
    let blocks = blocks.into_iter().chain([0x1AFF0..0x1B300, 0x1C000..0x20000, 0xE0000..0xE0200]);
    for c in blocks.flatten().filter_map(char::from_u32) {
        let probe = format!("{c} a{c}b 1{c}2");
        for token in Tokenizer::new(&probe) {
            hash.update(&[token.start as u8, token.end as u8, token.kind as u8]);
        }
        analysis.tokens(&probe, &mut |term: &str| {
            hash.update(term.as_bytes());
        });
    }
    let versions = Analyzer::ALL.map(Analyzer::version);
    assert_eq!((versions, &hash.finalize().to_hex()[..16]), ([1, 1], "45c742275f76f036"));
}

#[test]
fn passages_count_words() {
    let cut = |words, overlap, text: &str| {
        let passages = Chunking::new(words, overlap).unwrap().passages(text);
        passages.into_iter().map(|range| text[range].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(cut(3, 0, " One two,  three - four\nfive "), ["One two,  three", "- four\nfive"]);
    assert_eq!(cut(3, 1, "a b c d e"), ["a b c", "c d e"]);
    assert_eq!(cut(3, 2, "a b c d"), ["a b c", "b c d"]);
    assert_eq!(cut(9, 0, "a b"), ["a b"]);
    assert_eq!(cut(9, 0, " \n"), [""; 0]);
    assert_eq!(cut(4, 0, "我住在北京。abc def"), ["我住在北", "京。abc def"]);
    assert_eq!(cut(usize::MAX, 0, "a b"), ["a b"]);
    assert_eq!(cut(2, 0, &"é".repeat(1000)).len(), 4);
    let refused = |words, overlap| Chunking::new(words, overlap).unwrap_err().to_string();
    assert_eq!(refused(0, 0), "a passage of 0 words holds nothing; expected at least 1 word");
    assert!(refused(5, 5).contains("expected an overlap below 5"), "{}", refused(5, 5));
}

/// Gives numbers in the order in which terms come.
#[derive(Default)]
struct Numbered(Vec<String>);

impl TermNumbers for Numbered {
    fn number(&mut self, term: &str) -> Option<u32> {
        let known = self.0.iter().position(|other| other == term);
        let number = known.unwrap_or_else(|| {
            self.0.push(term.to_owned());
            self.0.len() - 1
        });
        Some(number as u32)
    }
}

#[test]
fn numbers_are_those_of_the_terms() {
    let texts = [
        "The dogs' dog, dogged by DOGS: 3.5 of the caf\u{e9}s and a caf\u{e9}'s cafe",
        "antidisestablishmentarianism s's 's it's \u{65e5}\u{672c}\u{8a9e} \u{1f600}",
        "",
        "dog Dog's dogs running runs run",
    ];
    // So many words that the places of the first ones are taken by others.
    let many: String = (0..60_000).map(|n| format!("w{} ", n % 3_000 * 7)).collect();
    for analyzer in Analyzer::ALL {
        let (mut by_number, mut by_text) = (analyzer.start(), analyzer.start());
        let mut numbered = Numbered::default();
        for text in texts.into_iter().chain([many.as_str()]).chain(texts) {
            let mut numbers = Vec::new();
            by_number.numbers(text, &mut numbered, &mut numbers);
            let terms = numbers.iter().map(|number| numbered.0[*number as usize].as_str());
            assert!(terms.eq(by_text.collect(text)), "{analyzer:?}");
        }
    }
}
